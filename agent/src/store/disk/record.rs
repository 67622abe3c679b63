//! What stands in a record: a block of spans, or requests by series.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::store::{
    block::{Block, KnownWhose, Reader, put, put_text},
    series::{Key, More, Red, Side},
};

/// Kinds of records; another version writes others.
const SPANS: u8 = 1;
const SERIES: u8 = 2;
/// Most bytes of a record when it is read.
const RECORD_MAX: usize = 8 << 20;
/// Most bytes of a compressed record of series that is not compressed: a key, and all buckets of a slot.
pub(super) const ROW_MAX: usize = 4 << 10;
/// The fastest.
const LEVEL: i32 = 1;

const GROUPS: [&str; 4] = ["http", "rpc", "db", "messaging"];

/// A record that was read.
pub(super) enum Record {
    Spans { block: Block, share: f64, written_unix_s: u64 },
    Series { more: More, written_unix_s: u64 },
}

/// A block, and the share of traces that was kept of its time.
pub(super) fn of_spans(block: &Block, share: f64, now_unix_s: u64) -> std::io::Result<Vec<u8>> {
    let mut out = vec![SPANS];
    put(&mut out, now_unix_s);
    out.extend_from_slice(&share.to_le_bytes());
    out.extend_from_slice(&zstd::bulk::compress(&block.encode(), LEVEL)?);
    Ok(out)
}

/// Numbers of series in a file; each file has its own.
#[derive(Default)]
pub(super) struct Numbers {
    /// Which file.
    pub(super) segment: u64,
    all: HashMap<Key, u64>,
}

impl Numbers {
    /// None yet, of this file.
    pub(super) fn of(segment: u64) -> Self {
        Self { segment, ..Self::default() }
    }
}

/// What came of series, with the names of those that the file has not named yet.
pub(super) fn of_series(more: &More, numbers: &mut Numbers, now_unix_s: u64) -> Vec<u8> {
    let mut out = vec![SERIES];
    put(&mut out, now_unix_s);
    put(&mut out, more.started_unix_ns);
    put(&mut out, more.until_unix_ns);
    put(&mut out, more.rows.len() as u64);
    for (key, slot, red) in &more.rows {
        let next = numbers.all.len() as u64;
        let number = *numbers.all.entry(key.clone()).or_insert(next);
        put(&mut out, number << 1 | u64::from(number == next));
        if number == next {
            put_text(&mut out, &key.service);
            put_text(&mut out, &key.namespace);
            out.push(u8::from(key.side == Side::Client));
            put_text(&mut out, &key.name);
            put_text(&mut out, &key.target);
            put_text(&mut out, key.group);
        }
        red.write(*slot, &mut out);
    }
    out
}

/// Names of series in each file that is read.
#[derive(Default)]
pub(super) struct Names(BTreeMap<(u64, u64), Key>);

/// A record of this file; `None`: it cannot be read.
pub(super) fn read(bytes: &[u8], segment: u64, names: &mut Names, known: &mut KnownWhose) -> Option<Record> {
    let mut reader = Reader { bytes };
    let kind = reader.byte()?;
    let written_unix_s = reader.number()?;
    match kind {
        SPANS => {
            let share = f64::from_le_bytes(reader.array()?);
            let block = zstd::bulk::decompress(reader.bytes, RECORD_MAX).ok()?;
            Some(Record::Spans { block: Block::decode(&block, known)?, share, written_unix_s })
        }
        SERIES => {
            let (started_unix_ns, until_unix_ns) = (reader.number()?, reader.number()?);
            let mut rows = Vec::new();
            for _ in 0..reader.entries()? {
                let number = reader.number()?;
                if number & 1 == 1 {
                    // Where one was not written to its end, all are named anew.
                    names.0.insert((segment, number >> 1), key(&mut reader)?);
                }
                let key = names.0.get(&(segment, number >> 1))?.clone();
                let (slot, red) = Red::read(&mut reader)?;
                rows.push((key, slot, red));
            }
            Some(Record::Series { more: More { started_unix_ns, until_unix_ns, rows }, written_unix_s })
        }
        _ => None,
    }
}

fn key(reader: &mut Reader<'_>) -> Option<Key> {
    let (service, namespace) = (reader.text()?.into(), reader.text()?.into());
    let side = if reader.byte()? == 1 { Side::Client } else { Side::Server };
    let (name, target) = (reader.text()?.into(), reader.text()?.into());
    let group = reader.text()?;
    let group = GROUPS.into_iter().find(|known| *known == group).unwrap_or("http");
    Some(Key { service, namespace, side, name, target, group })
}
