//! What is kept on disk through ends of all kinds, and the bounds of it.

use std::{
    cell::Cell,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;

use super::{super::*, *};
use crate::{
    export::testing,
    model::span::{Span, Status},
};

thread_local! {
    /// Blocks that this thread has read.
    pub(super) static LOADED: Cell<usize> = const { Cell::new(0) };
}

/// How many blocks are read for it.
fn read_for<T>(ask: impl FnOnce() -> T) -> (T, usize) {
    let before = LOADED.get();
    let answer = ask();
    (answer, LOADED.get() - before)
}

const MIB: u64 = 1 << 20;
const NOW_NS: u64 = 1_800_000_000_000_000_000;

fn config(dir: &Path) -> DiskConfig {
    DiskConfig { dir: dir.to_owned(), max_bytes: 64 * MIB, max_age: Duration::from_secs(86_400) }
}

/// A store with what is on disk already known.
fn store(config: DiskConfig, now_unix_ns: u64) -> Arc<Store> {
    store_of(8 << 20, config, now_unix_ns)
}

fn store_of(memory: usize, config: DiskConfig, now_unix_ns: u64) -> Arc<Store> {
    store_by(system_clock(), memory, config, now_unix_ns)
}

fn store_by(clock: ClockS, memory: usize, config: DiskConfig, now_unix_ns: u64) -> Arc<Store> {
    let store = Arc::new(Store::new(memory, None));
    store.keep_on_disk_by(clock, config, now_unix_ns).unwrap();
    // Jobs are carried out behind it.
    let disk = store.disk.get().unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while !disk.shared.is_open.load(Relaxed) && Instant::now() < until {
        std::thread::yield_now();
    }
    store
}

fn spans(numbers: std::ops::Range<u64>) -> Arc<Vec<Span>> {
    Arc::new(numbers.map(testing::span).collect())
}

fn all(store: &Store) -> Vec<Kept> {
    store.everything().find(&Filter::default(), usize::MAX - 1).0
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some());
    files.sort();
    files
}

fn key(service: &str) -> Key {
    Key {
        service: service.into(),
        namespace: "shop".into(),
        side: Side::Server,
        name: "GET /a".into(),
        target: "".into(),
        group: "http",
    }
}

fn red(count: u64) -> Red {
    Red::of_counts(count, 1, 0.5, &[(100, u32::try_from(count).unwrap())])
}

#[test]
fn what_was_written_is_there_in_the_next_run_with_all_that_was_known_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(config(dir.path()), NOW_NS);
    first.push(&spans(0..3000));
    let before = all(&first);
    assert_eq!(before.len(), 3000);
    first.flush();
    first.close();
    assert_eq!(first.disk_stats().unwrap().written, 3000);
    assert_eq!(all(&first).len(), 3000, "none is told twice");
    let (first_traces, slowest) = (before[5].trace_id, first.snapshot().slowest(&Filter::default(), 3));
    drop(first);

    let second = store(config(dir.path()), NOW_NS + 1_000_000_000_000);
    let stats = second.disk_stats().unwrap();
    assert_eq!((stats.spans, stats.written, stats.torn, stats.dropped), (3000, 0, 0, 0));
    assert!(stats.bytes < 3000 * 100, "{} bytes a span", stats.bytes / 3000);
    assert_eq!(second.snapshot().find(&Filter::default(), 10).0, [], "memory is empty");
    let after = all(&second);
    assert_eq!(after.len(), 3000);
    for (old, new) in before.iter().zip(&after) {
        assert_eq!(as_text(old), as_text(new));
    }
    assert_eq!(second.everything().trace(first_traces).len(), 1);
    let of_disk = second.everything().slowest(&Filter::default(), 3);
    let lengths = |spans: &[Kept]| spans.iter().map(Kept::duration_ns).collect::<Vec<_>>();
    assert_eq!(lengths(&of_disk), lengths(&slowest));
    // What comes has higher numbers, and both are told, the latest first.
    second.push(&spans(5000..5010));
    let both = all(&second);
    assert_eq!(both.len(), 3010);
    assert!(both.windows(2).all(|two| two[0].number > two[1].number));
    assert_eq!(second.everything().whose().len(), 2, "one of each run: {:?}", second.everything().whose());
    let nobody = Filter { service: Some("nobody".to_owned()), ..Filter::default() };
    assert_eq!(second.everything().find(&nobody, 5), (Vec::new(), false));
}

/// Without how a text is held.
fn as_text(span: &Kept) -> String {
    let attributes: Vec<_> = span.attributes.iter().map(|it| (it.key, text_of(&it.value))).collect();
    let rest = Kept { attributes: Vec::new(), ..span.clone() };
    format!("{rest:?} {attributes:?}")
}

#[test]
fn what_went_from_memory_is_on_disk_and_notable_spans_are_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let small = store_of(128 << 10, config(dir.path()), NOW_NS);
    for part in 0..80 {
        let batch = (part * 100..part * 100 + 100).map(|number| Span {
            status: if number % 50 == 0 { Status::Error } else { Status::Unset },
            ..testing::span(number)
        });
        small.push(&Arc::new(batch.collect()));
        small.flush();
    }
    small.flush();
    small.close();
    let kept = small.stats().kept;
    let found = all(&small);
    assert!(small.snapshot().find(&Filter::default(), usize::MAX - 1).0.len() < found.len(), "some is on disk alone");
    assert_eq!(found.len() as u64, kept);
    let errors = Filter { is_error: Some(true), ..Filter::default() };
    let mut numbers: Vec<u64> = small.everything().find(&errors, 1000).0.iter().map(|span| span.number).collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert!(count == numbers.len() && count > 50, "{count}");
    let saved = small.snapshot().find(&errors, 1000).0.len();
    assert!(saved > 0 && saved < count, "{saved} of {count} are in memory");
}

#[test]
fn a_trace_a_list_and_the_slowest_are_told_without_reading_all() {
    let dir = tempfile::tempdir().unwrap();
    // With room for all of them, so that none is thinned out.
    let first = store_of(1 << 30, config(dir.path()), NOW_NS);
    for part in 0..40_u64 {
        let batch = (part * 100..part * 100 + 100).map(|number| {
            let span = testing::span(number);
            let slow_ns = if number == 1234 { 5_000_000_000 } else { (number % 7) * 1000 };
            Span { end_unix_ns: span.start_unix_ns + slow_ns, ..span }
        });
        first.push(&Arc::new(batch.collect()));
        first.flush();
    }
    first.close();
    drop(first);
    // Read by another run: what is known of each block does not stand there by itself.
    let second = store(config(dir.path()), NOW_NS + 1_000_000_000_000);
    let blocks = second.everything();
    let one = testing::span(1234).trace_id;
    let (trace, read) = read_for(|| blocks.trace(one));
    assert_eq!(trace.len(), 1);
    assert!((1..=3).contains(&read), "{read} blocks of 40");
    let ((latest, is_more), read) = read_for(|| blocks.find(&Filter::default(), 150));
    assert_eq!((latest.len(), is_more), (150, true));
    assert_eq!(read, 2);
    let (slowest, read) = read_for(|| blocks.slowest(&Filter::default(), 1));
    assert_eq!((slowest[0].trace_id, read), (one, 1));
    let slow = Filter { min_us: Some(1_000_000), ..Filter::default() };
    let ((found, is_more), read) = read_for(|| blocks.find(&slow, 10));
    assert_eq!((found.len(), found[0].trace_id, is_more, read), (1, one, false, 1));
    let (nothing, read) = read_for(|| blocks.trace(testing::span(1_000_000).trace_id));
    assert!(nothing.is_empty() && read <= 2, "{read}");
    second.close();
}

#[test]
fn a_question_reads_for_so_long_and_says_how_far_it_came() {
    let dir = tempfile::tempdir().unwrap();
    let first = store_of(1 << 30, config(dir.path()), NOW_NS);
    for part in 0..10_u64 {
        first.push(&spans(part * 100..part * 100 + 100));
        first.flush();
    }
    first.close();
    drop(first);
    let second = store(config(dir.path()), NOW_NS + 1_000_000_000_000);
    let disk = second.disk.get().unwrap();
    let until = |until: Option<Instant>| second.snapshot().with_disk_until(disk, until);
    let behind_last = testing::span(999).start_unix_ns + 1;
    let text = Filter { text: Some("no such text".to_owned()), ..Filter::default() };
    let one = testing::span(123).trace_id;
    for ask in [
        &|spans: &Snapshot| spans.find(&text, 10).0.len(),
        &|spans: &Snapshot| spans.slowest(&Filter::default(), 10).len(),
        &|spans: &Snapshot| spans.trace(one).len(),
    ] as [&dyn Fn(&Snapshot) -> usize; 3]
    {
        let spans = until(Some(Instant::now()));
        let (found, read) = read_for(|| ask(&spans));
        assert_eq!((found, read), (0, 0), "there is no time");
        let since = spans.searched_since_unix_ns().unwrap();
        assert!(since <= behind_last && since > testing::span(0).start_unix_ns, "{since}");
        let spans = until(Some(Instant::now() + Duration::from_secs(600)));
        ask(&spans);
        assert_eq!(spans.searched_since_unix_ns(), None);
    }
    // Who is not let through does not wait for ever, and who reads lets others through.
    let held = disk.turn.lock();
    let spans = until(Some(Instant::now() + Duration::from_millis(20)));
    assert_eq!((spans.find(&text, 10).0.len(), spans.searched_since_unix_ns()), (0, Some(behind_last)));
    drop(held);
    second.close();
}

#[test]
fn a_torn_end_is_left_out_and_damage_takes_no_more_than_its_record() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(config(dir.path()), NOW_NS);
    for part in 0..3 {
        first.push(&spans(part * 100..part * 100 + 100));
        first.flush();
    }
    first.close();
    drop(first);
    let file = files(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let len = bytes.len();
    // In the first record; and the last one is torn.
    bytes[100] ^= 1;
    fs::write(&file, &bytes[..len - 60]).unwrap();
    let second = store(config(dir.path()), NOW_NS + 1_000_000_000_000);
    let stats = second.disk_stats().unwrap();
    assert_eq!((stats.spans, stats.torn), (200, 100));
    assert_eq!(all(&second).len(), 200);
    second.close();
}

#[test]
fn the_oldest_goes_where_there_is_no_room_and_when_it_is_too_old() {
    let dir = tempfile::tempdir().unwrap();
    let small = DiskConfig { max_bytes: 128 << 10, ..config(dir.path()) };
    // With room in memory for all of them: how many are thinned out is a matter of how fast they come.
    let first = store_of(1 << 30, small.clone(), NOW_NS);
    for part in 0..20 {
        let noisy = (part * 500..part * 500 + 500).map(|number| {
            let mut span = testing::span(number);
            // Nothing that could be written shorter.
            let noise = (0..8).map(|n| format!("{:x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(n * 7)));
            span.trace_state = noise.collect::<String>().into();
            span
        });
        first.push(&Arc::new(noisy.collect()));
        first.flush();
        while first.disk_stats().unwrap().written + first.disk_stats().unwrap().dropped
            < (part + 1) * 500 - first.stats().thinned
        {
            std::thread::yield_now();
        }
    }
    first.close();
    let stats = first.disk_stats().unwrap();
    let on_disk: u64 = files(dir.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(on_disk <= 128 << 10 && on_disk > 8 << 10 && stats.bytes == on_disk, "{on_disk} {stats:?}");
    assert_eq!(stats.dropped, 0);
    let found = all(&first);
    assert!(found.len() as u64 >= stats.spans && stats.spans < stats.written);
    drop(first);

    let now_unix_s = system_clock()();
    let at = |later_s: u64| {
        let clock = Box::new(move || now_unix_s + later_s);
        store_by(clock, 8 << 20, small.clone(), NOW_NS + 1_000_000_000_000)
    };
    let second = at(86_300);
    assert_eq!(second.disk_stats().unwrap().spans, stats.spans);
    second.close();
    drop(second);
    let second = at(86_500);
    assert_eq!(second.disk_stats().unwrap().spans, 0);
    second.close();
}

#[test]
fn series_are_what_they_were_whatever_ended_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let slot = NOW_NS / 1_000_000_000 / STEP_S;
    let first = store(config(dir.path()), NOW_NS);
    let disk = Arc::clone(first.disk.get().unwrap());
    let more = |rows| More { started_unix_ns: NOW_NS - 60_000_000_000, until_unix_ns: NOW_NS, rows };
    // A slot that was told in two parts, and more rows than a record has.
    let many: Vec<_> = (0..1500).map(|n| (key(&format!("s{n}")), slot - 2, red(2))).collect();
    assert!(disk.offer_series(more(many)).is_ok());
    assert!(disk.offer_series(more(vec![(key("s7"), slot - 2, red(3)), (key("s7"), slot, red(5))])).is_ok());
    disk.end();
    drop((first, disk));
    // The next one is killed: nothing is closed.
    let second = store_of(64 << 20, config(dir.path()), NOW_NS + 5_000_000_000);
    second.start_at(NOW_NS + 5_000_000_000);
    second.take(&[], NOW_NS + 15_000_000_000);
    let window = second.since(NOW_NS / 1_000_000_000 - 60);
    assert_eq!(second.red(window, |key| key.service == "s7"), [(key("s7"), Red::of_counts(10, 3, 1.5, &[(100, 10)]))]);
    assert_eq!(second.red(window, |_| true).len(), 1500);
    // A minute of the first, ten seconds of the second; not what was between.
    assert!((window.covered_s - 70.0).abs() < 1e-6, "{window:?}");
}

#[test]
fn a_folder_that_cannot_be_used_leaves_memory() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let own = Arc::new(Store::new(8 << 20, None));
    own.keep_on_disk(config(&file), NOW_NS).unwrap();
    own.push(&spans(0..10));
    own.close();
    assert_eq!(own.everything().find(&Filter::default(), 100).0.len(), 10);
    assert_eq!(own.disk_stats().unwrap().dropped, 10);

    // Two agents: the second has memory alone.
    let first = store(config(dir.path()), NOW_NS);
    let second = Arc::new(Store::new(8 << 20, None));
    second.keep_on_disk(config(dir.path()), NOW_NS).unwrap();
    second.push(&spans(0..5));
    second.close();
    assert_eq!(second.disk_stats().unwrap().dropped, 5);
    first.close();
}

#[test]
fn a_small_record_that_finds_room_on_a_full_disk_is_no_sign_that_it_works() {
    let dir = tempfile::tempdir().unwrap();
    let own = store(config(dir.path()), NOW_NS);
    let shared = &own.disk.get().unwrap().shared;
    let is_failing = || shared.failing.lock().is_some();
    let full = || io::Error::from(io::ErrorKind::StorageFull);
    shared.works(10, 100);
    assert!(!is_failing());
    shared.fails(&full(), 1000, 100);
    shared.fails(&full(), 500, 110);
    shared.works(999, 120);
    assert!(is_failing());
    shared.works(1000, 120);
    assert!(!is_failing());
    shared.fails(&full(), 1000, 200);
    shared.works(10, 259);
    shared.fails(&full(), 400, 259);
    shared.works(10, 318);
    assert!(is_failing());
    shared.works(10, 319);
    assert!(!is_failing());
    own.close();
}

proptest! {
    /// Bytes that no checksum was asked of.
    #[test]
    fn no_bytes_end_it(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), flip in any::<u8>()) {
        let _none = Block::decode(&bytes, &mut KnownWhose::default());
        let mut of_spans = vec![1];
        of_spans.extend(&bytes);
        let _none = record::read(&of_spans, 1, &mut Names::default(), &mut KnownWhose::default());
        let mut of_series = vec![2];
        of_series.extend(&bytes);
        let _none = record::read(&of_series, 1, &mut Names::default(), &mut KnownWhose::default());
        // A block with a byte changed.
        let store = Store::new(8 << 20, None);
        store.push(&spans(0..3));
        let mut block = store.spans.lock().blocks().newest().encode();
        let at = at.index(block.len());
        block[at] ^= flip;
        if let Some(block) = Block::decode(&block, &mut KnownWhose::default()) {
            for index in 0..block.heads.len() {
                let _span = block.read(index);
            }
        }
    }
}
