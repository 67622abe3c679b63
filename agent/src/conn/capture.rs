//! What the protocols of the registry need captured, as the kernel side is told.

use ebpf_common::{
    capture::{
        BEGINNINGS_MAX, Beginning, Capture, ENDINGS_IN_SET, ENDINGS_MAX, Ending, GROWN_UNIT, MODE_HTTP1_MESSAGES,
        MODE_HTTP2_FRAMES, MODE_TURNS, RENEWED_SHIFT, RESPONSES_SHIFT, begins,
    },
    events::{RECEIVED, SENT},
    limits::{HEAD_MAX, TAIL_MAX, WHOLE_MAX},
};

use crate::{
    capture::AtFirst,
    model::net::Role,
    protocols::{self, Begins, Entry, Mode, REGISTRY},
};

/// What is captured of a connection once it is known to carry a protocol: so many bytes at most of a turn of requests, and of responses, and
/// no more than `head_max` of the beginning of a turn. `knows_ends`: see [`Session::knows_ends`](protocols::Session::knows_ends).
pub(super) fn of(
    entry: &Entry,
    role: Role,
    head_max: Option<u32>,
    [requests, responses]: [u32; 2],
    knows_ends: bool,
) -> Capture {
    let protocols::Capture { mode, answers, tails, endings, renewed, .. } = entry.capture;
    let [asks, tells] = [endings.requests, endings.answers].map(|set| if knows_ends { number_of(set) } else { 0 });
    let (head, grown, ends, direction) = match role {
        Role::Server => ([requests, responses], [0, answers], [asks, tells], SENT),
        Role::Client => ([responses, requests], [answers, 0], [tells, asks], RECEIVED),
    };
    let mode = match mode {
        Mode::Turns => MODE_TURNS,
        Mode::Http1Messages => MODE_HTTP1_MESSAGES,
        Mode::Http2Frames => MODE_HTTP2_FRAMES,
    };
    // Not where the agent takes too much.
    let renewed = u32::from(renewed && head_max.is_none()) << RENEWED_SHIFT;
    let mode = mode | 1 << (RESPONSES_SHIFT + direction) | renewed;
    let bound = head_max.unwrap_or(WHOLE_MAX).min(WHOLE_MAX);
    // The table of connections is asked for less where the agent takes too much.
    let grown = if head_max.is_some() { [0; 2] } else { grown.map(|most| (most.min(WHOLE_MAX) / GROWN_UNIT) as u8) };
    let tail = if tails { TAIL_MAX as u8 } else { 0 };
    Capture { mode, head: head.map(|most| most.min(bound)), grown, tail, endings: Capture::endings_of(ends) }
}

/// Sets of endings that protocols have, each once. One that has none is the same as one for which there is no room.
fn sets() -> impl Iterator<Item = &'static [protocols::Ending]> {
    let all = || REGISTRY.iter().flat_map(|entry| [entry.capture.endings.answers, entry.capture.endings.requests]);
    let is_new = move |at: usize, set: &&[protocols::Ending]| !set.is_empty() && !all().take(at).any(|it| it == *set);
    all().enumerate().filter(move |(at, set)| is_new(*at, set)).map(|(_, set)| set).take(ENDINGS_MAX)
}

/// The number of a set; 0 for none.
fn number_of(set: &[protocols::Ending]) -> u8 {
    let at = sets().position(|it| it == set).and_then(|at| u8::try_from(at + 1).ok());
    at.unwrap_or_default()
}

fn endings(set: &'static [protocols::Ending]) -> [Ending; ENDINGS_IN_SET] {
    let mut told = set.iter().map(|it| Ending::of(it.bytes, it.mask));
    let first = told.next().unwrap_or_default();
    [first, told.next().unwrap_or(first)]
}

/// What is captured of a connection that is followed, as is usual, with so many bytes of what its requests carry.
pub(super) fn with_content(capture: Capture, role: Role, head_max: Option<u32>, most: u32) -> Capture {
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
    AtFirst { beginnings, whole, endings: sets().map(endings).collect() }
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
        let told = Capture { mode: MODE_TURNS | 2 << RESPONSES_SHIFT, head, grown, tail: TAIL_MAX as u8, endings: 0 };
        let most = [entry.capture.requests, entry.capture.responses];
        let less = of(&entry, Role::Server, Some(10), most, true);
        assert_eq!((less.head, less.grown), ([10, 7], [0, 0]));
        assert_eq!(of(&entry, Role::Server, None, most, true), told, "and no bound is exceeded");
        let mode = MODE_TURNS | 1 << RESPONSES_SHIFT;
        let (head, grown) = ([7, WHOLE_MAX], [128, 0]);
        assert_eq!(of(&entry, Role::Client, None, most, true), Capture { mode, head, grown, ..told });
        let http2 = REGISTRY.iter().find(|entry| entry.name == "http2").unwrap();
        assert_eq!(of(http2, Role::Client, None, most, true).mode, MODE_HTTP2_FRAMES | 1 << RESPONSES_SHIFT);
    }

    #[test]
    fn endings_are_told_of_the_direction_that_answers_take_once_the_session_knows_them() {
        let told = at_first().endings;
        for (name, asks) in [("postgresql", false), ("mysql", false), ("redis", true), ("memcached", true)] {
            let entry = entry(name);
            let [server, client] = [Role::Server, Role::Client].map(|role| of(entry, role, None, [1; 2], true).endings);
            let number = server >> 4;
            assert_eq!((server & 0xf, client), (if asks { number } else { 0 }, (server & 0xf) << 4 | number), "{name}");
            let set = &told[usize::from(number) - 1];
            let expected = entry.capture.endings.answers;
            assert_eq!((set[0], set[1]), {
                let of = |it: &protocols::Ending| Ending::of(it.bytes, it.mask);
                (of(&expected[0]), of(expected.last().unwrap()))
            });
            assert!(expected.len() <= ENDINGS_IN_SET && entry.capture.endings.requests.len() <= ENDINGS_IN_SET);
            assert_eq!(of(entry, Role::Server, None, [1; 2], false).endings, 0);
        }
        let without = of(entry("toy"), Role::Server, None, [1; 2], true);
        assert_eq!(without.endings, 0);
    }

    #[test]
    fn budgets_of_brokers_count_anew_unless_less_is_wanted() {
        let renewed =
            |entry: &Entry, head_max| of(entry, Role::Client, head_max, [1; 2], false).mode >> RENEWED_SHIFT & 1;
        for name in ["nats", "amqp", "amqp1", "mqtt", "pulsar", "kafka"] {
            assert_eq!([renewed(entry(name), None), renewed(entry(name), Some(512))], [1, 0], "{name}");
        }
        assert_eq!(renewed(entry("redis"), None), 0);
    }

    #[test]
    fn what_requests_carry_is_captured_in_their_direction_unless_less_is_wanted() {
        let http2 = entry("http2");
        let most = [http2.capture.requests, http2.capture.responses];
        let usual = |role, head_max| of(http2, role, head_max, most, false);
        let grown = |role, head_max| with_content(usual(role, head_max), role, head_max, 8192).grown;
        assert_eq!([grown(Role::Client, None), grown(Role::Server, None)], [[0, 2], [2, 0]]);
        assert_eq!(grown(Role::Client, Some(1000)), [0, 0]);
        assert_eq!(with_content(usual(Role::Client, None), Role::Client, None, 0), usual(Role::Client, None));
    }

    #[test]
    fn all_beginnings_are_told_and_none_is_another() {
        let AtFirst { beginnings, whole, endings } = at_first();
        assert_eq!(beginnings.len(), REGISTRY.iter().map(|entry| entry.capture.beginnings.len()).sum::<usize>());
        assert_eq!(whole, WHOLE_MAX);
        assert_eq!(endings.len(), 3, "of PostgreSQL, of MySQL, and the ends of lines");
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
