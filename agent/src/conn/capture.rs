//! What the protocols of the registry need captured, as the kernel side is told.

use ebpf_common::{
    capture::{
        BEGINNINGS_MAX, Beginning, Capture, GROWN_UNIT, MODE_HTTP1_MESSAGES, MODE_HTTP2_FRAMES, MODE_TURNS,
        RESPONSES_SHIFT, begins,
    },
    events::{RECEIVED, SENT},
    limits::{HEAD_MAX, TAIL_MAX, WHOLE_MAX},
};

use crate::{
    capture::AtFirst,
    model::net::Role,
    protocols::{self, Begins, Entry, Mode, REGISTRY},
};

/// What is captured of a connection once it is known to carry a protocol, and no more than `head_max` of the beginning of a turn.
pub(super) fn of(entry: &Entry, role: Role, head_max: Option<u32>) -> Capture {
    of_requests(entry, role, head_max, entry.capture.requests)
}

/// The same, with most bytes of a turn of requests.
pub(super) fn of_requests(entry: &Entry, role: Role, head_max: Option<u32>, requests: u32) -> Capture {
    let protocols::Capture { mode, responses, answers, tails, .. } = entry.capture;
    let (head, grown, direction) = match role {
        Role::Server => ([requests, responses], [0, answers], SENT),
        Role::Client => ([responses, requests], [answers, 0], RECEIVED),
    };
    let mode = match mode {
        Mode::Turns => MODE_TURNS,
        Mode::Http1Messages => MODE_HTTP1_MESSAGES,
        Mode::Http2Frames => MODE_HTTP2_FRAMES,
    };
    let mode = mode | 1 << (RESPONSES_SHIFT + direction);
    let bound = head_max.unwrap_or(WHOLE_MAX).min(WHOLE_MAX);
    // The table of connections is asked for less where the agent takes too much.
    let grown = if head_max.is_some() { [0; 2] } else { grown.map(|most| (most.min(WHOLE_MAX) / GROWN_UNIT) as u8) };
    Capture { mode, head: head.map(|most| most.min(bound)), grown, tail: if tails { TAIL_MAX as u16 } else { 0 } }
}

/// What is captured of a connection that is followed, with so many bytes of what its requests carry.
pub(super) fn with_content(entry: &Entry, role: Role, head_max: Option<u32>, most: u32) -> Capture {
    let capture = of(entry, role, head_max);
    if head_max.is_some() {
        return capture;
    }
    let most = (most.min(WHOLE_MAX) / GROWN_UNIT) as u8;
    let grown = match role {
        Role::Server => [most, 0],
        Role::Client => [0, most],
    };
    Capture { grown, ..capture }
}

/// What is captured of connections of which nothing is known yet.
#[must_use]
pub(crate) fn at_first() -> AtFirst {
    let beginnings: Vec<Beginning> = REGISTRY.iter().flat_map(beginnings).take(BEGINNINGS_MAX).collect();
    let whole = REGISTRY.iter().map(|entry| entry.capture.whole).max().unwrap_or_default().min(WHOLE_MAX);
    AtFirst { beginnings, whole }
}

fn beginnings(entry: &Entry) -> impl Iterator<Item = Beginning> {
    let protocols::Capture { mode, responses, .. } = entry.capture;
    entry.capture.beginnings.iter().map(move |beginning| {
        let what = match (beginning.begins, mode) {
            (Begins::Response { interim_at, interim }, _) => {
                begins::RESPONSE | u32::from(interim_at) << 8 | u32::from(interim) << 16
            }
            (Begins::Whole, _) => begins::WHOLE | begins::WHOLE_OF_TLS,
            (Begins::WholeInTheClear, _) => begins::WHOLE,
            (Begins::Followed, Mode::Http1Messages) => begins::HTTP1_MESSAGES,
            (Begins::Followed, Mode::Http2Frames) => begins::HTTP2_FRAMES,
            (Begins::Followed, Mode::Turns) => 0,
        };
        let (word, mask) = (u32::from_le_bytes(beginning.bytes), u32::from_le_bytes(beginning.mask));
        Beginning { word: word & mask, mask, what, head: responses.min(HEAD_MAX) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(name: &str) -> &'static Entry {
        REGISTRY.iter().find(|entry| entry.name == name).unwrap()
    }

    #[test]
    fn budgets_go_to_the_direction_that_requests_take() {
        let entry = Entry {
            capture: protocols::Capture {
                requests: 1_000_000,
                responses: 7,
                answers: 2_000_000,
                tails: true,
                ..entry("toy").capture
            },
            ..*entry("toy")
        };
        let (head, grown) = ([WHOLE_MAX, 7], [0, 128]);
        let told = Capture { mode: MODE_TURNS | 2 << RESPONSES_SHIFT, head, grown, tail: TAIL_MAX as u16 };
        let less = of(&entry, Role::Server, Some(10));
        assert_eq!((less.head, less.grown), ([10, 7], [0, 0]));
        assert_eq!(of(&entry, Role::Server, None), told, "and no bound is exceeded");
        let mode = MODE_TURNS | 1 << RESPONSES_SHIFT;
        let (head, grown) = ([7, WHOLE_MAX], [128, 0]);
        assert_eq!(of(&entry, Role::Client, None), Capture { mode, head, grown, ..told });
        let http2 = REGISTRY.iter().find(|entry| entry.name == "http2").unwrap();
        assert_eq!(of(http2, Role::Client, None).mode, MODE_HTTP2_FRAMES | 1 << RESPONSES_SHIFT);
    }

    #[test]
    fn what_requests_carry_is_captured_in_their_direction_unless_less_is_wanted() {
        let http2 = entry("http2");
        let grown = |role, head_max| with_content(http2, role, head_max, 8192).grown;
        assert_eq!([grown(Role::Client, None), grown(Role::Server, None)], [[0, 2], [2, 0]]);
        assert_eq!(grown(Role::Client, Some(1000)), [0, 0]);
        assert_eq!(with_content(http2, Role::Client, None, 0), of(http2, Role::Client, None));
    }

    #[test]
    fn all_beginnings_are_told_and_none_is_another() {
        let AtFirst { beginnings, whole } = at_first();
        assert_eq!(beginnings.len(), REGISTRY.iter().map(|entry| entry.capture.beginnings.len()).sum::<usize>());
        assert_eq!(whole, WHOLE_MAX);
        for (at, one) in beginnings.iter().enumerate() {
            assert!(one.mask != 0 && one.what != 0, "{one:?}");
            for other in &beginnings[..at] {
                assert_ne!((one.word ^ other.word) & one.mask & other.mask, 0, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn what_stands_for_an_interim_response_lies_within_its_bits() {
        let told = at_first().beginnings;
        let response = told.iter().find(|it| it.word == u32::from_le_bytes(*b"HTTP")).unwrap();
        assert_eq!(response.what, begins::RESPONSE | 9 << 8 | u32::from(b'1') << 16);
        assert_eq!(response.head, 2048);
    }
}
