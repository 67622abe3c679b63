//! Recordings give the spans that were seen to be right, each time. A new one: put `NAME.jsonl` into `goldens/`, run this,
//! and, where what it prints is right, put that into `NAME.spans`.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf};

use ebpf_common::events::{self, AF_INET, AF_INET6, AF_UNIX, EventKind, RECEIVED, SENT, flags};
use serde_json::Value;
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::{
    entry::{self, Entry, Head, VERSION},
    recorder::{Recorder, append},
    replay::{ReplayError, replay},
};
use crate::{export::console::json_line, model::span::Span};

fn goldens() -> Vec<(PathBuf, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/recording/goldens");
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let recordings = paths.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    recordings.map(|path| (path.clone(), fs::read_to_string(path).unwrap())).collect()
}

/// A line per span, by their beginning, without ids, which are drawn.
fn spans(recording: &str) -> String {
    let shown = |span: &Span| {
        let mut shown: Value = serde_json::from_str(&json_line(span)).unwrap();
        let members = shown.as_object_mut().unwrap();
        members.retain(|name, _| !["trace_id", "span_id", "resource"].contains(&name.as_str()));
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
fn records_are_the_same_when_they_are_read_back() {
    let every_byte: Vec<u8> = (0..=255).collect();
    let mut data = events::Data::new_zeroed();
    (data.kind, data.direction, data.flags, data.len) = (EventKind::Data as u32, SENT, flags::TLS, 1000);
    (data.head_len, data.tail_len, data.tgid, data.tid, data.work) = (256, 3, 4, 5, u64::MAX);
    (data.conn, data.at_ns, data.position, data.other_position) = (u64::MAX, 7, 8, 9);
    for direction in [SENT, RECEIVED] {
        data.direction = direction;
        let entry = written_and_read(&Entry::Data(entry::Data::new(&data, &every_byte, b"end")));
        let Entry::Data(read) = entry else { panic!("{entry:?}") };
        assert_eq!(read.record().as_bytes(), data.as_bytes());
        assert_eq!((&*read.head.0, &*read.tail.0), (&every_byte[..], b"end".as_slice()));
    }

    for family in [AF_INET, AF_INET6, AF_UNIX, 0] {
        let mut open = events::Open::new_zeroed();
        (open.kind, open.family, open.state, open.conn) = (EventKind::Open as u32, family, 1 << 15, u64::MAX);
        (open.at_ns, open.tgid, open.netns, open.inode) = (7, 8, 9, 10);
        open.comm[..5].copy_from_slice(b"nginx");
        match family {
            AF_UNIX => {
                (open.path_len, open.path[1]) = (9, 0xff);
            }
            0 => {}
            _ => {
                let len = if family == AF_INET { 4 } else { 16 };
                open.local_addr[..len].fill(11);
                open.remote_addr[..len].fill(12);
                (open.local_port, open.remote_port) = (80, 81);
            }
        }
        let entry = written_and_read(&Entry::Open(entry::Open::new(&open, Some("shop"))));
        let Entry::Open(read) = entry else { panic!("{entry:?}") };
        assert_eq!(read.record().as_bytes(), open.as_bytes());
        assert_eq!(read.asked.as_deref(), Some("shop"));
    }

    let mut state = events::State::new_zeroed();
    (state.kind, state.state, state.conn, state.at_ns) = (EventKind::State as u32, 7, 1, 2);
    (state.error, state.unread, state.received, state.sent) = (3, 4, 5, 6);
    let entry = written_and_read(&Entry::State(entry::State::new(&state)));
    let Entry::State(read) = entry else { panic!("{entry:?}") };
    assert_eq!(read.record().as_bytes(), state.as_bytes());

    let bind = events::Bind { kind: EventKind::Bind as u32, reserved: 0, conn: 1, carrier: 2, at_ns: 3 };
    let entry = written_and_read(&Entry::Bind(entry::Bind::new(&bind)));
    let Entry::Bind(read) = entry else { panic!("{entry:?}") };
    assert_eq!(read.record().as_bytes(), bind.as_bytes());
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
