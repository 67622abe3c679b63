//! No record of plaintext carries another thread's bytes, however often programs of uprobes are preempted: all that was captured is
//! compared with what its thread had encrypted or decrypted. `STORM_RECORDS` says how many records are to be compared.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{
    collections::HashMap,
    env,
    time::{Duration, Instant},
};

use beyla_rs::internals::{
    Attachments, Finder, ProcFs,
    capture::{Capture, Data, DataFlags, Event, Options},
    model::{ConnectionId, ProcessId, ThreadId},
};
use tests::{LONG, need, own_tls::OwnTls, wait::poll};

/// In CI; by hand it is ten millions.
const RECORDS: u64 = 200_000;
/// On each processor there are of every priority.
const THREADS: u64 = 24;
const HEADER: usize = 24;
/// Records that may wait.
const AHEAD: u64 = 20_000;

/// What was compared.
#[derive(Default)]
struct Seen {
    compared: u64,
    bytes: u64,
    mixed: Vec<String>,
    /// The number that the kernel has for each thread.
    threads: HashMap<u64, ThreadId>,
    /// Which of them a thread had last.
    numbers: HashMap<(u64, ConnectionId), u64>,
}

impl Seen {
    fn on_data(&mut self, data: &Data<'_>) {
        if !data.flags.contains(DataFlags::TLS) {
            return;
        }
        if let Err(why) = self.compare(data) {
            let beginning = &data.head[..data.head.len().min(HEADER)];
            self.mixed.push(format!("{why}: {:?}", Data { head: beginning, tail: &[], ..*data }));
        }
        self.compared += 1;
        self.bytes += (data.head.len() + data.tail.len()) as u64;
    }

    fn compare(&mut self, data: &Data<'_>) -> Result<(), &'static str> {
        let Data { head, tail, .. } = *data;
        let Some((beginning, _)) = head.split_at_checked(HEADER) else { return Err("short") };
        let word = |at: usize| u64::from_le_bytes(beginning[at..at + 8].try_into().unwrap());
        let (thread, number) = (word(8), word(16));
        if !beginning.starts_with(b"STORM..1") || thread >= THREADS {
            return Err("no message");
        }
        let message = message(thread, number, data.len as usize);
        if head != &message[..head.len()] || tail != &message[message.len() - tail.len()..] {
            return Err("other bytes");
        }
        if *self.threads.entry(thread).or_insert(data.thread.tid) != data.thread.tid {
            return Err("another thread");
        }
        // Each is sent and received once.
        let before = self.numbers.insert((thread, data.id), number);
        if before.is_some_and(|before| number <= before) {
            return Err("an older message");
        }
        Ok(())
    }
}

/// What `storm.c` makes of these.
fn message(thread: u64, number: u64, len: usize) -> Vec<u8> {
    let mut message = b"STORM..1".to_vec();
    message.extend(thread.to_le_bytes());
    message.extend(number.to_le_bytes());
    let mut state = (thread << 40 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while message.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        message.extend(state.to_le_bytes());
    }
    message.truncate(len);
    message
}

#[test]
fn no_record_has_another_threads_bytes() {
    need::root();
    let records = env::var("STORM_RECORDS").map_or(RECORDS, |records| records.parse().unwrap());
    let place = OwnTls::new("storm.c", &["-lssl", "-lcrypto", "-lpthread"]);
    let mut program = place.start(&[&THREADS.to_string()]);
    let _ready = program.says("ready");
    let pid = ProcessId(program.pid());
    let mut capture = Capture::start(&Options { ring_bytes: 64 << 20, ..Options::default() }).unwrap();
    capture.watch(pid).unwrap();
    let finder = Finder::start(ProcFs::new("/proc")).unwrap();
    finder.look(pid);
    let finding = poll("the program's libraries", || finder.next());
    let mut attachments = Attachments::default();
    attachments.on_finding(&finding);
    assert!(attachments.proceed(&mut capture, LONG), "the probes are not in their places");
    assert!(attachments.files() > 0, "{finding:?}");
    let (mut seen, mut asked, began) = (Seen::default(), 0, Instant::now());
    let mut last = began;
    loop {
        // Never more than the ring has room for.
        if asked < records && seen.compared + capture.lost() + AHEAD > asked {
            program.tell(&AHEAD.to_string());
            asked += AHEAD;
            if asked >= records {
                program.tell_no_more();
            }
        }
        let is_done = program.stdout.so_far().iter().any(|line| line == "done");
        let taken = capture.drain(100_000, |event| {
            if let Event::Data(data) = event {
                seen.on_data(&data);
            }
        });
        if taken > 0 {
            last = Instant::now();
        } else if is_done {
            break;
        }
        assert!(
            last.elapsed() < LONG,
            "the program stands still: {} of {asked} records that it was asked for were seen, {} lost, {} mixed; it says {:#?}, {:#?}",
            seen.compared,
            capture.lost(),
            seen.mixed.len(),
            program.stdout.so_far(),
            program.stderr.so_far()
        );
        if taken == 0 {
            capture.wait(Duration::from_millis(1));
        }
    }
    let counts = capture.counts();
    println!(
        "{} records of {THREADS} threads in {:.1} s, {} MB compared, {} lost, of them {} where programs were preempted: mixed {}",
        seen.compared,
        began.elapsed().as_secs_f64(),
        seen.bytes >> 20,
        capture.lost(),
        counts.get(ebpf_common::policy::Counter::LostPreempted),
        seen.mixed.len()
    );
    assert!(seen.mixed.is_empty(), "{:#?}", &seen.mixed[..seen.mixed.len().min(5)]);
    assert_eq!(seen.threads.len() as u64, THREADS, "all of them were seen");
    assert!(seen.compared + capture.lost() >= records, "{} of {records}", seen.compared);
    assert!(seen.compared >= records / 2, "{} of {records}, {} lost", seen.compared, capture.lost());
}
