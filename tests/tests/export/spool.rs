//! What a receiver does not take waits on disk: through an outage, a restart, a full disk.

use std::{fs, path::Path, process::Command};

use beyla_rs::internals::export::SpoolConfig;
use tests::need;

use super::*;

const PLENTY: u64 = 64 << 20;

/// Sends spans only, of which those that are not taken go into `dir`.
fn spooled(endpoint: &str, protocol: &str, dir: &Path, max_bytes: u64) -> ExportConfig {
    let mut config = config_to(endpoint, protocol, &[]);
    config.metrics.clear();
    config.batch.max_batch_spans = 50;
    config.spool = Some(SpoolConfig { dir: dir.to_owned(), max_bytes });
    config
}

fn endpoint(ports: Ports, protocol: &str) -> String {
    format!("http://127.0.0.1:{}", if protocol == "grpc" { ports.grpc } else { ports.http })
}

/// Distinct spans, and how many came twice.
fn arrived(receiver: &Receiver) -> (u64, u64) {
    let spans = receiver.spans();
    let distinct: HashSet<_> = spans.iter().map(|span| &span.span_id).collect();
    (distinct.len() as u64, (spans.len() - distinct.len()) as u64)
}

fn files_in(dir: &Path) -> Vec<PathBuf> {
    let folders = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
    files.filter(|file| file.extension().is_some_and(|suffix| suffix == "spool")).collect()
}

#[test]
fn an_outage_longer_than_memory_lasts_loses_nothing_that_the_disk_can_hold() {
    for protocol in PROTOCOLS {
        let (ports, dir) = (free_ports(), tempfile::tempdir().unwrap());
        let mut config = spooled(&endpoint(ports, protocol), protocol, dir.path(), PLENTY);
        config.batch.max_queue_bytes = 256 << 10;
        let stage = Stage::start(&config, vec![]);
        let service = resource("a", 1);
        for batch in 0..200 {
            stage.exporters.push(spans(batch * 50 + 1..=batch * 50 + 50, &service));
            // A producer that is faster than the disk fills the queue all the same.
            tests::wait::poll("the queue has room", || (stage.spans().queued_bytes < 128 << 10).then_some(()));
            assert_balanced(&stage.spans());
        }
        tests::wait::poll("they are on disk", || (stage.spans().spooled > 9_500).then_some(()));
        assert!(!files_in(dir.path()).is_empty());
        let receiver = Receiver::start_on(ports, None);
        receiver.wait_for(|state| state.spans.len() == 10_000, LONG).unwrap();
        stage.exporters.push(spans(10_001..=10_001, &service));
        receiver.wait_for(|state| state.spans.len() == 10_001, LONG).unwrap();
        tests::wait::poll("all are settled", || (stage.spans().queued == 0).then_some(()));
        assert_eq!(files_in(dir.path()), Vec::<PathBuf>::new(), "{protocol}");
        let ledger = stage.shutdown(LONG).spans.unwrap();
        assert_eq!((ledger.count(Fate::Sent), ledger.lost()), (10_001, 0), "{ledger:?}");
        assert_eq!(arrived(&receiver), (10_001, 0), "{protocol}");
    }
}

#[test]
fn what_an_agent_could_not_deliver_is_delivered_by_the_next() {
    for protocol in PROTOCOLS {
        for failure in [Failure::Unavailable { retry_after: None }, Failure::Hang] {
            let dir = tempfile::tempdir().unwrap();
            let receiver = Receiver::start();
            let to = if protocol == "grpc" { receiver.grpc_endpoint() } else { receiver.http_endpoint() };
            let config = spooled(&to, protocol, dir.path(), PLENTY);
            let stage = Stage::start(&config, vec![]);
            stage.exporters.push(spans(1..=100, &resource("a", 1)));
            receiver.wait_for(|state| state.spans.len() == 100, LONG).unwrap();
            receiver.respond_with(FailNext { requests: usize::MAX, failure: failure.clone() });
            (2..=9).for_each(|n| stage.exporters.push(spans(n * 50 + 1..=n * 50 + 50, &resource("a", 1))));
            receiver.wait_for(|state| state.requests.len() >= 3, LONG).unwrap();
            let started = Instant::now();
            let first = stage.shutdown(Duration::from_secs(2)).spans.unwrap();
            assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
            assert_eq!((first.pushed, first.queued, first.lost()), (500, 0, 0), "{protocol}: {first:?}");
            assert_eq!((first.count(Fate::Sent), first.count(Fate::LeftInSpool)), (100, 400), "{protocol}: {first:?}");

            receiver.recover();
            let stage = Stage::start(&config, vec![]);
            tests::wait::poll("they are delivered", || (stage.spans().count(Fate::Sent) == 400).then_some(()));
            let second = stage.shutdown(LONG).spans.unwrap();
            assert_eq!((second.pushed, second.count(Fate::Sent), second.lost()), (400, 400, 0), "{second:?}");
            let (distinct, twice) = arrived(&receiver);
            assert_eq!(distinct, 500, "{protocol}");
            // What hung may have been taken when the receiver came to itself: nobody had said so.
            assert!(twice == 0 || matches!(failure, Failure::Hang), "{protocol}: {twice}");
        }
    }
}

#[test]
fn the_oldest_make_room_and_are_counted() {
    const ROOM: u64 = 200 << 10;
    let (ports, dir) = (free_ports(), tempfile::tempdir().unwrap());
    let stage = Stage::start(&spooled(&endpoint(ports, "grpc"), "grpc", dir.path(), ROOM), vec![]);
    for batch in 0..100 {
        stage.exporters.push(spans(batch * 50 + 1..=batch * 50 + 50, &resource("a", 1)));
        tests::wait::poll("it is put aside", || (stage.spans().spooled == stage.spans().queued).then_some(()));
        let on_disk: u64 = files_in(dir.path()).iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum();
        assert!(on_disk <= ROOM, "{on_disk}");
    }
    let during = stage.spans();
    assert!(during.count(Fate::DroppedSpoolFull) > 2000 && during.queued > 300, "{during:?}");
    let receiver = Receiver::start_on(ports, None);
    receiver.wait_for(|state| state.spans.len() as u64 >= during.queued, LONG).unwrap();
    tests::wait::poll("all are settled", || (stage.spans().queued == 0).then_some(()));
    let ledger = stage.shutdown(LONG).spans.unwrap();
    assert_balanced(&ledger);
    assert_eq!(arrived(&receiver), (ledger.count(Fate::Sent), 0), "{ledger:?}");
    assert_eq!(ledger.pushed, ledger.count(Fate::Sent) + ledger.count(Fate::DroppedSpoolFull), "{ledger:?}");
    let newest = receiver.spans().iter().any(|span| span.name == "GET /5000");
    assert!(newest, "the newest are kept");
}

#[test]
fn a_folder_that_is_damaged_or_in_use_stops_nothing() {
    let (ports, dir) = (free_ports(), tempfile::tempdir().unwrap());
    let config = spooled(&endpoint(ports, "grpc"), "grpc", dir.path(), PLENTY);
    let stage = Stage::start(&config, vec![]);
    stage.exporters.push(spans(1..=200, &resource("a", 1)));
    tests::wait::poll("they are put aside", || (stage.spans().spooled == 200).then_some(()));

    // Another one of the same receiver: it works with memory alone.
    let other = Stage::start(&config, vec![]);
    other.exporters.push(spans(201..=210, &resource("a", 1)));
    assert_eq!(other.shutdown(Duration::from_secs(1)).spans.unwrap().count(Fate::DroppedShutdown), 10);
    assert_eq!(stage.shutdown(Duration::from_secs(1)).spans.unwrap().count(Fate::LeftInSpool), 200);

    let file = files_in(dir.path()).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    let len = bytes.len();
    // In the message of the first request; and the last one is torn.
    bytes[200] ^= 1;
    fs::write(&file, &bytes[..len - 10]).unwrap();
    let receiver = Receiver::start_on(ports, None);
    let stage = Stage::start(&config, vec![]);
    receiver.wait_for(|state| state.spans.len() == 100, LONG).unwrap();
    tests::wait::poll("all are settled", || (stage.spans().queued == 0).then_some(()));
    let ledger = stage.shutdown(LONG).spans.unwrap();
    assert_eq!((ledger.pushed, ledger.count(Fate::Sent)), (200, 100), "{ledger:?}");
    assert_eq!(ledger.count(Fate::DroppedSpoolDamaged), 100, "{ledger:?}");
}

/// A file system of its own, which goes when the test ends.
struct Disk(PathBuf);

impl Disk {
    fn of_bytes(at: &Path, bytes: u64) -> Self {
        need::root();
        let options = format!("size={bytes}");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(at).status().unwrap();
        assert!(status.success());
        Self(at.to_owned())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_full_leaves_what_comes_in_memory_and_what_was_kept_is_kept() {
    let (ports, dir) = (free_ports(), tempfile::tempdir().unwrap());
    let _disk = Disk::of_bytes(dir.path(), 128 << 10);
    let stage = Stage::start(&spooled(&endpoint(ports, "grpc"), "grpc", dir.path(), PLENTY), vec![]);
    (0..20).for_each(|n| stage.exporters.push(spans(n * 50 + 1..=n * 50 + 50, &resource("a", 1))));
    tests::wait::poll("the disk is full, and the rest waits in memory", || {
        let ledger = stage.spans();
        let on_disk: u64 = files_in(dir.path()).iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum();
        (on_disk > 64 << 10 && ledger.spooled < ledger.queued && ledger.queued == 1000).then_some(())
    });
    let receiver = Receiver::start_on(ports, None);
    receiver.wait_for(|state| state.spans.len() == 1000, LONG).unwrap();
    tests::wait::poll("all are settled", || (stage.spans().queued == 0).then_some(()));
    let ledger = stage.shutdown(LONG).spans.unwrap();
    assert_eq!((ledger.count(Fate::Sent), ledger.lost()), (1000, 0), "{ledger:?}");
    assert_eq!(arrived(&receiver), (1000, 0));
}
