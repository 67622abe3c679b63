//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

/// A request or a response, with its length.
pub(super) fn framed(parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    [&(body.len() as u32).to_be_bytes()[..], &body].concat()
}

/// The beginning of a request.
pub(super) fn head(key: i16, version: i16, correlation: i32) -> Vec<u8> {
    let is_flexible = super::api::Api::of(key, version).unwrap().is_flexible(version);
    let client = b"shop";
    let length = (client.len() as i16).to_be_bytes();
    let tags: &[u8] = if is_flexible { &[0] } else { &[] };
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &correlation.to_be_bytes(), &length, client, tags].concat()
}

/// A string as old versions have it.
pub(super) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as i16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// The same as flexible ones have it.
pub(super) fn compact(text: &str) -> Vec<u8> {
    [&varint(text.len() as u64 + 1)[..], text.as_bytes()].concat()
}

pub(super) fn varint(mut value: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

fn signed(value: i64) -> Vec<u8> {
    varint(((value << 1) ^ (value >> 63)).cast_unsigned())
}

/// A message with its headers.
pub(super) struct Message<'a>(pub(super) &'a [u8], pub(super) &'a [(&'a str, &'a str)]);

/// Records without their batch.
pub(super) fn records(messages: &[Message<'_>]) -> Vec<u8> {
    let mut all = Vec::new();
    for (nth, Message(value, headers)) in messages.iter().enumerate() {
        let mut record = [&[0][..], &signed(0), &signed(nth as i64), &signed(-1)].concat();
        record.extend([&signed(value.len() as i64)[..], value, &signed(headers.len() as i64)].concat());
        for (key, value) in *headers {
            let (key_length, length) = (signed(key.len() as i64), signed(value.len() as i64));
            record.extend([&key_length[..], key.as_bytes(), &length, value.as_bytes()].concat());
        }
        all.extend([signed(record.len() as i64), record].concat());
    }
    all
}

/// A batch from an offset on.
pub(super) fn batch(base: i64, attributes: i16, count: u32, records: &[u8]) -> Vec<u8> {
    let last = (i64::from(count) - 1) as i32;
    let parts: [&[u8]; 8] = [
        &[0, 0, 0, 0, 2, 0, 0, 0, 0],
        &attributes.to_be_bytes(),
        &last.to_be_bytes(),
        &[0; 16],
        &[0xff; 8],
        &[0xff; 6],
        &count.to_be_bytes(),
        records,
    ];
    let body = parts.concat();
    [&base.to_be_bytes()[..], &(body.len() as u32).to_be_bytes(), &body].concat()
}

/// Messages without headers.
pub(super) fn plain(base: i64, values: &[&[u8]]) -> Vec<u8> {
    let messages: Vec<Message<'_>> = values.iter().map(|value| Message(value, &[])).collect();
    batch(base, 0, values.len() as u32, &records(&messages))
}

/// Messages for partitions of a topic, in a version.
pub(super) fn produce(version: i16, correlation: i32, acks: i16, topic: &str, parts: &[(i32, Vec<u8>)]) -> Vec<u8> {
    let is_flexible = version >= 9;
    let count =
        |count: usize| if is_flexible { varint(count as u64 + 1) } else { (count as u32).to_be_bytes().to_vec() };
    let tags: &[u8] = if is_flexible { &[0] } else { &[] };
    let no_transaction: &[u8] = if is_flexible { &[0] } else { &[0xff, 0xff] };
    let mut body = [head(0, version, correlation), no_transaction.to_vec(), acks.to_be_bytes().to_vec()].concat();
    body.extend([&30_000_u32.to_be_bytes()[..], &count(1)].concat());
    body.extend(if is_flexible { compact(topic) } else { text(topic) });
    body.extend(count(parts.len()));
    for (partition, records) in parts {
        body.extend([&partition.to_be_bytes()[..], &count(records.len()), records, tags].concat());
    }
    framed(&[&body, tags, tags])
}

/// What became of them: partition, error, offset.
pub(super) fn produced(version: i16, correlation: i32, topic: &str, parts: &[(i32, i16, i64)]) -> Vec<u8> {
    let is_flexible = version >= 9;
    let count =
        |count: usize| if is_flexible { varint(count as u64 + 1) } else { (count as u32).to_be_bytes().to_vec() };
    let tags: &[u8] = if is_flexible { &[0] } else { &[] };
    let mut body = [&correlation.to_be_bytes()[..], tags, &count(1)].concat();
    body.extend(if is_flexible { compact(topic) } else { text(topic) });
    body.extend(count(parts.len()));
    for (partition, error, offset) in parts {
        body.extend([&partition.to_be_bytes()[..], &error.to_be_bytes(), &offset.to_be_bytes(), &[0xff; 8]].concat());
        if version >= 5 {
            body.extend([0; 8]);
        }
        if version >= 8 {
            body.extend(count(0));
            body.extend(if is_flexible { vec![0] } else { vec![0xff, 0xff] });
        }
        body.extend(tags);
    }
    framed(&[&body, tags, &[0; 4], tags])
}

/// Messages of a partition are asked for, in version 12.
pub(super) fn fetch(correlation: i32, session: (i32, i32), asked: &[(&str, i32, i64)]) -> Vec<u8> {
    let mut body =
        [head(1, 12, correlation), vec![0xff; 4], vec![0, 0, 1, 0xf4, 0, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0]].concat();
    body.extend([session.0.to_be_bytes(), session.1.to_be_bytes()].concat());
    body.extend(varint(asked.len() as u64 + 1));
    for (topic, partition, offset) in asked {
        body.extend([&compact(topic)[..], &varint(2), &partition.to_be_bytes(), &[0xff; 4]].concat());
        body.extend([&offset.to_be_bytes()[..], &[0xff; 4], &[0xff; 8], &[0, 16, 0, 0], &[0, 0]].concat());
    }
    framed(&[&body, &varint(1), &compact(""), &[0]])
}

/// What partitions gave: topic, partition, error, batches.
pub(super) fn fetched(correlation: i32, session: i32, error: i16, given: &[(&str, i32, i16, Vec<u8>)]) -> Vec<u8> {
    let mut body =
        [&correlation.to_be_bytes()[..], &[0], &[0; 4], &error.to_be_bytes(), &session.to_be_bytes()].concat();
    body.extend(varint(given.len() as u64 + 1));
    for (topic, partition, error, records) in given {
        body.extend([&compact(topic)[..], &varint(2), &partition.to_be_bytes(), &error.to_be_bytes()].concat());
        body.extend([&[0; 24][..], &[0], &[0xff; 4], &varint(records.len() as u64 + 1), records, &[0, 0]].concat());
    }
    framed(&[&body, &[0]])
}

/// How far a group has come, in version 8.
fn commit(correlation: i32, group: &str, topic: &str) -> Vec<u8> {
    let mut body = [head(8, 8, correlation), compact(group), vec![0, 0, 0, 1], compact("member"), vec![0]].concat();
    body.extend([&varint(2)[..], &compact(topic), &varint(2), &[0, 0, 0, 3], &[0, 0, 0, 0, 0, 0, 0, 9]].concat());
    framed(&[&body, &[0xff; 4], &compact(""), &[0, 0, 0]])
}

fn committed(correlation: i32, topic: &str, error: i16) -> Vec<u8> {
    let body = [&correlation.to_be_bytes()[..], &[0], &[0; 4], &varint(2), &compact(topic), &varint(2)].concat();
    framed(&[&body, &[0, 0, 0, 3], &error.to_be_bytes(), &[0, 0, 0]])
}

/// What the broker speaks is asked for, and told.
pub(super) fn versions(correlation: i32) -> [Vec<u8>; 2] {
    let body = [head(18, 3, correlation), compact("client"), compact("1.0"), vec![0]].concat();
    let answer = [&correlation.to_be_bytes()[..], &[0, 0], &varint(2), &[0, 0, 0, 0, 0, 9, 0], &[0; 4], &[0]].concat();
    [framed(&[&body]), framed(&[&answer])]
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, Vec<u8>)]| Sample { name, pieces: pieces.to_vec(), exchanges };
    let large = vec![b'v'; 3000];
    let [asked, answered] = versions(1);
    vec![
        sample(
            "one after the other",
            4,
            &[
                (CLIENT, asked),
                (SERVER, answered),
                (CLIENT, produce(9, 2, -1, "orders", &[(0, plain(0, &[b"one", b"two"]))])),
                (SERVER, produced(9, 2, "orders", &[(0, 0, 10)])),
                (CLIENT, produce(7, 3, 1, "bills", &[(1, plain(0, &[&large, b"two", b"three"]))])),
                (SERVER, produced(7, 3, "bills", &[(1, 6, -1)])),
                (CLIENT, fetch(4, (0, 0), &[("parcels", 0, 7)])),
                (SERVER, fetched(4, 5, 0, &[])),
                (CLIENT, fetch(5, (5, 1), &[])),
                (SERVER, fetched(5, 5, 0, &[("parcels", 0, 0, plain(7, &[b"1", b"2", b"3", b"4", &large]))])),
                (CLIENT, commit(6, "packers", "letters")),
                (SERVER, committed(6, "letters", 25)),
            ],
        ),
        sample(
            "several at a time",
            4,
            &[
                (CLIENT, produce(9, 1, 1, "a", &[(0, plain(0, &[b"1"])), (1, plain(0, &[b"1", b"2"]))])),
                (CLIENT, produce(9, 2, 1, "b", &[(0, plain(0, &[b"1", b"2", b"3"]))])),
                (SERVER, produced(9, 1, "a", &[(1, 2, -1), (0, 3, -1)])),
                (CLIENT, produce(9, 3, 1, "c", &[(0, plain(0, &[&large, b"2", b"3", b"4"]))])),
                (SERVER, produced(9, 2, "b", &[(0, 7, -1)])),
                (SERVER, produced(9, 3, "c", &[(0, 10, -1)])),
            ],
        ),
    ]
}
