//! The store's files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::store::{Recovered, Store};

const PLENTY: u64 = 1 << 20;

fn open(folder: &Path) -> (Store, Recovered) {
    Store::open(folder, PLENTY).unwrap()
}

fn message(number: u8) -> Vec<u8> {
    vec![number; 100]
}

/// Messages by their first byte, as they come; nothing is settled.
fn rest(store: &mut Store) -> Vec<u8> {
    std::iter::from_fn(|| store.take().record).map(|record| record.message[0]).collect()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|suffix| suffix == "spool"));
    files.sort();
    files
}

#[test]
fn what_was_not_settled_is_there_again_in_its_order_and_what_was_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    (1..=5).for_each(|n| assert_eq!(store.append(&message(n), n.into()).unwrap(), 0));
    let first = store.take().record.unwrap();
    let second = store.take().record.unwrap();
    assert_eq!((first.items, second.items, &second.message), (1, 2, &message(2)));
    // The second is on its way when the agent is killed.
    store.settle(first.place).unwrap();
    drop(store);
    let (mut store, recovered) = open(folder.path());
    assert_eq!(recovered, Recovered { items: 2 + 3 + 4 + 5, torn_bytes: 0, torn_items: 0 });
    assert_eq!(rest(&mut store), [2, 3, 4, 5]);
}

#[test]
fn files_go_when_nothing_waits_in_them() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    store.append(&message(1), 1).unwrap();
    store.append(&message(2), 1).unwrap();
    for _ in 0..2 {
        assert_eq!(files(folder.path()).len(), 1);
        let record = store.take().record.unwrap();
        store.settle(record.place).unwrap();
    }
    assert_eq!((files(folder.path()).len(), store.bytes()), (0, 0));
    store.append(&message(3), 1).unwrap();
    assert_eq!(rest(&mut store), [3]);
}

#[test]
fn the_oldest_make_room_and_are_counted_once() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = Store::open(folder.path(), 2000).unwrap();
    let taken = {
        store.append(&message(0), 7).unwrap();
        store.take().record.unwrap()
    };
    let dropped: u64 = (1..=100).map(|n| store.append(&message(n), 1).unwrap()).sum();
    assert!(store.bytes() <= 2000);
    let on_disk: u64 = files(folder.path()).iter().map(|path| fs::metadata(path).unwrap().len()).sum();
    assert_eq!(on_disk, store.bytes());
    // What is on its way has lost its place, and is not counted here.
    store.settle(taken.place).unwrap();
    let left = rest(&mut store);
    assert_eq!(dropped + left.len() as u64, 100);
    assert!(left.len() >= 10 && left.is_sorted() && left.last() == Some(&100), "{left:?}");
}

/// Kill -9 within a write, and a machine that falls.
#[test]
fn an_end_that_is_torn_at_any_byte_is_told_and_costs_that_record_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    (1..=3).for_each(|n| assert_eq!(store.append(&message(n), 10).unwrap(), 0));
    drop(store);
    let path = files(folder.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let record = whole.len() / 3;
    for len in 2 * record + 1..whole.len() {
        fs::write(&path, &whole[..len]).unwrap();
        let (mut store, recovered) = open(folder.path());
        let torn = (len - 2 * record) as u64;
        // Its header, where it is there, tells how many there were.
        let torn_items = if torn >= 24 { 10 } else { 0 };
        assert_eq!(recovered, Recovered { items: 20, torn_bytes: torn, torn_items }, "{len}");
        // New ones are not written behind it.
        store.append(&message(9), 1).unwrap();
        assert_eq!(rest(&mut store), [1, 2, 9]);
        drop(store);
        let (_, again) = open(folder.path());
        assert_eq!(again, Recovered { items: 21, torn_bytes: 0, torn_items: 0 }, "it is told once");
        files(folder.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
    }
}

#[test]
fn any_byte_that_is_damaged_is_found_and_what_is_before_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, _) = open(folder.path());
    (1..=3).for_each(|n| assert_eq!(store.append(&message(n), 10).unwrap(), 0));
    drop(store);
    let path = files(folder.path()).remove(0);
    let whole = fs::read(&path).unwrap();
    let record = whole.len() / 3;
    for at in record..2 * record {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        fs::write(&path, &bytes).unwrap();
        let (mut store, recovered) = open(folder.path());
        let (mut read, mut damaged) = (Vec::new(), 0);
        loop {
            let taken = store.take();
            damaged += taken.damaged;
            let Some(record) = taken.record else { break };
            assert_eq!(record.message, message(record.message[0]), "{at}");
            read.push(record.message[0]);
        }
        match at - record {
            // A header that cannot be read does not say where the next begins.
            0..20 => assert_eq!((read, recovered.torn_bytes), (vec![1], 2 * record as u64), "{at}"),
            // What says that it waits.
            20..24 => assert_eq!(read, [1, 2, 3], "{at}"),
            _ => assert_eq!((read, damaged), (vec![1, 3], 10), "{at}"),
        }
    }
}

#[test]
fn a_folder_has_one_user_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = open(folder.path());
    let error = Store::open(folder.path(), PLENTY).err().unwrap();
    assert_eq!(error.to_string(), "another process uses it");
    drop(store);
    open(folder.path());
}
