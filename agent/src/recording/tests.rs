//! Recordings give the spans that were seen to be right, each time. A new one: put `NAME.jsonl` into `goldens/`, run this,
//! and, where what it prints is right, put that into `NAME.spans`.

use std::{fs, num::NonZeroU64, os::unix::fs::PermissionsExt as _, path::PathBuf};

use ebpf_common::events::{Frames, PLAINTEXT};
use serde_json::Value;

use super::{
    entry::{self, Entry, Head, VERSION},
    recorder::{Recorder, append},
    replay::{ReplayError, replay},
};
use crate::{
    capture::event::{Bind, Carrier, Data, DataFlags, Ends, MetAt, Open, State, TcpState},
    export::console::json_line,
    model::{
        ids::{ConnectionId, ProcessId, ThreadId},
        net::{Direction, Thread},
        span::Span,
    },
};

fn goldens() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/recording/goldens");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let recordings = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    recordings.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// A line per span, by their beginning, without ids, which are drawn, and what is said of how they were sampled.
fn spans(recording: &str) -> String {
    let shown = |span: &Span| {
        let mut shown: Value = serde_json::from_str(&json_line(span)).unwrap();
        let members = shown.as_object_mut().unwrap();
        members.retain(|name, _| !["trace_id", "span_id", "trace_state", "resource"].contains(&name.as_str()));
        (span.start_unix_ns, span.end_unix_ns, format!("{shown}\n"))
    };
    let spans = replay(recording, crate::telemetry::Config::default()).unwrap();
    let mut lines: Vec<_> = spans.iter().map(shown).collect();
    lines.sort();
    lines.into_iter().map(|(_, _, line)| line).collect()
}

/// What differs between what a recording gives and what it should.
fn compare(recording: &str, expected: &str) -> Result<(), String> {
    let told = spans(recording);
    if told == expected {
        return Ok(());
    }
    let [told_lines, expected_lines] = [&told, expected].map(|text| text.lines().collect::<Vec<_>>());
    let differs = |at: &usize| told_lines.get(*at) != expected_lines.get(*at);
    let at = (0..told_lines.len().max(expected_lines.len())).find(differs).unwrap_or_default();
    Err(format!(
        "span {at} of {} is\n{:?}\nand should be\n{:?}\nall:\n{told}",
        told_lines.len(),
        told_lines.get(at),
        expected_lines.get(at)
    ))
}

#[test]
fn goldens_give_their_spans() {
    let goldens = goldens();
    assert!(goldens.len() >= 3);
    for (path, recording) in goldens {
        let expected = fs::read_to_string(path.with_extension("spans")).unwrap_or_default();
        compare(&recording, &expected).unwrap_or_else(|difference| panic!("{}: {difference}", path.display()));
    }
}

#[test]
fn a_span_that_is_not_the_expected_one_fails() {
    for (path, recording) in goldens() {
        // One that is new has none yet: the test above says so.
        let expected = fs::read_to_string(path.with_extension("spans")).unwrap_or_default();
        let status = expected.replacen("\"http.response.status_code\":2", "\"http.response.status_code\":5", 1);
        let missing = expected.split_inclusive('\n').skip(1).collect::<String>();
        let invented = format!("{expected}{{}}\n");
        for changed in [status, missing, invented].into_iter().filter(|changed| *changed != expected) {
            assert!(compare(&recording, &changed).is_err(), "{}", path.display());
        }
        // The other way round: what was recorded is all used.
        let status = recording.replacen("HTTP/1.1 200", "HTTP/1.1 500", 1);
        assert!(status == recording || compare(&status, &expected).is_err(), "{}", path.display());
    }
}

/// What a record becomes in a file.
fn written_and_read(entry: &Entry<'_>) -> Entry<'static> {
    let mut line = Vec::new();
    append(entry, &mut line).unwrap();
    let line = String::from_utf8(line).unwrap();
    assert!(line.is_ascii() && line.find('\n') == Some(line.len() - 1));
    serde_json::from_str(&line).unwrap()
}

#[test]
fn events_are_the_same_when_they_are_read_back() {
    let every_byte: Vec<u8> = (0..=255).collect();
    for direction in [Direction::Sent, Direction::Received] {
        let data = Data {
            id: ConnectionId(u64::MAX),
            at_ns: 7,
            thread: Thread { tgid: ProcessId(4), tid: ThreadId(5), work: u64::MAX, begun_ns: u64::MAX },
            direction,
            flags: DataFlags::TLS,
            position: 8,
            other_position: 9,
            len: 1000,
            frames: Some(Frames { first: Some(24), found: 1 }),
            tcp: None,
            head: &every_byte,
            tail: b"end",
        };
        let entry = written_and_read(&Entry::Data(entry::Data::new(&data)));
        let Entry::Data(read) = entry else { panic!("{entry:?}") };
        assert_eq!(read.event(), data);
    }

    let stream = ConnectionId(PLAINTEXT | 1);
    let tcp = |local: &str, remote: &str, state| Ends::Tcp {
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        state,
        sequence: state.map(|_| [3, u32::MAX]),
    };
    for (id, ends, met_at) in [
        (ConnectionId(1), tcp("10.0.0.1:80", "10.0.0.2:81", Some(TcpState::CloseWait)), MetAt::Beginning),
        (ConnectionId(1), tcp("[fe80::1]:80", "[fe80::2]:81", None), MetAt::Unknown),
        (
            ConnectionId(1),
            Ends::Unix { path: b"\0\xff\0\0", inode: NonZeroU64::new(10), sockets: None },
            MetAt::Unknown,
        ),
        (stream, Ends::Unknown, MetAt::MidStream),
        (stream, Ends::Unknown, MetAt::Unknown),
    ] {
        let (tgid, forked_from) = (ProcessId(8), ProcessId::NONE);
        let open = Open {
            id,
            at_ns: 7,
            tgid,
            started_at_ns: 0,
            forked_from,
            comm: b"nginx",
            ends,
            netns: 9,
            met_at,
            is_blocking: met_at == MetAt::Beginning,
            connect_ns: None,
        };
        let entry = written_and_read(&Entry::Open(entry::Open::new(&open, Some("shop"))));
        let Entry::Open(read) = entry else { panic!("{entry:?}") };
        assert_eq!(read.event(), open);
        assert_eq!(read.asked.as_deref(), Some("shop"));
    }

    let (id, state) = (ConnectionId(1), TcpState::Close);
    let state = State { id, at_ns: 2, state, error: 3, unread: 4, received: 5, sent: 6 };
    let entry = written_and_read(&Entry::State(entry::State::new(&state)));
    let Entry::State(read) = entry else { panic!("{entry:?}") };
    assert_eq!(read.event(), Some(state));

    for carrier in
        [Carrier::Connection(ConnectionId(2)), Carrier::Stream(ConnectionId(PLAINTEXT | 2)), Carrier::Unknown]
    {
        let bind = Bind { stream, carrier, at_ns: 3 };
        let entry = written_and_read(&Entry::Bind(entry::Bind::new(&bind)));
        let Entry::Bind(read) = entry else { panic!("{entry:?}") };
        assert_eq!(read.event(), bind);
    }
}

fn head(version: u32) -> Entry<'static> {
    let (agent, backend) = ("1".into(), "sock".into());
    Entry::Recording(Head { version, agent, backend, since_ns: 1, unix_offset_ns: 2 })
}

#[test]
fn only_its_owner_may_read_a_recording_and_nothing_is_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recording");
    let mut recorder = Recorder::create(&file).unwrap();
    recorder.write(|| head(VERSION));
    recorder.finish();
    assert!(!recorder.is_on());
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(replay(&fs::read_to_string(&file).unwrap(), crate::telemetry::Config::default()).unwrap(), []);
    assert_eq!(Recorder::create(&file).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
}

#[test]
fn a_recording_has_an_end() {
    const MOST: usize = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("recording");
    let mut recorder = Recorder::bounded(&file, MOST).unwrap();
    recorder.write(|| head(VERSION));
    let mut written = 0;
    while recorder.is_on() {
        recorder.write(|| Entry::Tick { at_ns: written });
        written += 1;
        assert!(written < 1000);
    }
    recorder.finish();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.len() <= MOST && text.len() > MOST - 256, "{}", text.len());
    assert!(text.lines().last().unwrap().starts_with("{\"cut\":"));
    assert!(replay(&text, crate::telemetry::Config::default()).is_ok());
}

#[test]
fn what_is_no_recording_is_refused_with_its_line() {
    let replay = |text: &str| replay(text, crate::telemetry::Config::default());
    let head = |version| serde_json::to_string(&head(version)).unwrap();
    assert!(matches!(replay(""), Err(ReplayError::NoHead)));
    assert!(matches!(replay("{\"tick\":{\"at_ns\":1}}"), Err(ReplayError::NoHead)));
    assert!(matches!(replay(&head(VERSION + 1)), Err(ReplayError::Version { version }) if version == VERSION + 1));
    let wrong = format!("{}\n{{\"tick\":{{\"at_ns\":1}}}}\n{{}}", head(VERSION));
    assert!(matches!(replay(&wrong), Err(ReplayError::Line { line: 3, .. })));
}
