//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{
    Sample,
    Sender::{self, Client, Server},
};

fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// A field with a number.
pub(super) fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field with a text or a message.
pub(super) fn bytes(field: u64, value: &[u8]) -> Vec<u8> {
    [&varint(field << 3 | 2), &varint(value.len() as u64), value].concat()
}

/// A command, and what stands behind it.
pub(super) fn frame(kind: u8, said: &[Vec<u8>], behind: &[u8]) -> Vec<u8> {
    let command = [number(1, kind.into()), bytes(kind.into(), &said.concat())].concat();
    let (total, len) = ((command.len() + behind.len() + 4) as u32, command.len() as u32);
    [&total.to_be_bytes()[..], &len.to_be_bytes(), &command, behind].concat()
}

pub(super) fn property(field: u64, key: &str, value: &str) -> Vec<u8> {
    bytes(field, &[bytes(1, key.as_bytes()), bytes(2, value.as_bytes())].concat())
}

/// Metadata with its checksum, and a payload.
pub(super) fn content(metadata: &[Vec<u8>], payload: &[u8]) -> Vec<u8> {
    let metadata = [&[bytes(1, b"producer"), number(2, 0), number(3, 1)].concat(), &metadata.concat()[..]].concat();
    [&[0x0e, 0x01, 1, 2, 3, 4][..], &(metadata.len() as u32).to_be_bytes(), &metadata, payload].concat()
}

/// A message of a batch.
pub(super) fn in_batch(properties: &[Vec<u8>]) -> Vec<u8> {
    let metadata = [&properties.concat(), &number(3, 6)[..]].concat();
    [&(metadata.len() as u32).to_be_bytes()[..], &metadata, b"secret"].concat()
}

pub(super) fn send(producer: u64, sequence: u64, metadata: &[Vec<u8>], payload: &[u8]) -> Vec<u8> {
    frame(6, &[number(1, producer), number(2, sequence)], &content(metadata, payload))
}

pub(super) fn receipt(producer: u64, sequence: u64) -> Vec<u8> {
    frame(7, &[number(1, producer), number(2, sequence), bytes(3, &id(7, sequence))], &[])
}

pub(super) fn id(ledger: u64, entry: u64) -> Vec<u8> {
    [number(1, ledger), number(2, entry)].concat()
}

pub(super) fn message(consumer: u64, entry: u64, metadata: &[Vec<u8>], payload: &[u8]) -> Vec<u8> {
    frame(9, &[number(1, consumer), bytes(2, &id(7, entry))], &content(metadata, payload))
}

pub(super) fn ack(consumer: u64, kind: u64, ids: &[Vec<u8>]) -> Vec<u8> {
    let ids: Vec<Vec<u8>> = ids.iter().map(|id| bytes(3, id)).collect();
    frame(10, &[number(1, consumer), number(2, kind), ids.concat()], &[])
}

/// Both sides' beginning, a producer and a consumer.
pub(super) fn beginning() -> Vec<(Sender, Vec<u8>)> {
    vec![
        (Client, frame(2, &[bytes(1, b"Pulsar-Java-v4.0.0"), number(4, 20)], &[])),
        (Server, frame(3, &[bytes(1, b"Pulsar Server"), number(2, 20)], &[])),
        (
            Client,
            frame(5, &[bytes(1, b"persistent://public/default/orders-partition-3"), number(2, 1), number(3, 1)], &[]),
        ),
        (Server, frame(17, &[number(1, 1), bytes(2, b"producer")], &[])),
        (
            Client,
            frame(
                4,
                &[bytes(1, b"persistent://public/default/bills"), bytes(2, b"shop"), number(3, 1), number(4, 2)],
                &[],
            ),
        ),
        (Server, frame(13, &[number(1, 2)], &[])),
        (Client, frame(11, &[number(1, 2), number(2, 1000)], &[])),
    ]
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    let batch = |count| vec![number(11, count)];
    let mut pieces = beginning();
    pieces.extend([
        (Client, send(1, 0, &[], b"secret")),
        (Server, receipt(1, 0)),
        (Server, message(2, 5, &batch(2), &[in_batch(&[]), in_batch(&[])].concat())),
        (Client, ack(2, 0, &[id(7, 5)])),
        (Client, frame(18, &[], &[])),
        (Server, frame(19, &[], &[])),
        (Client, [send(1, 1, &batch(3), &in_batch(&[]).repeat(3)), send(1, 2, &[], b"secret 2")].concat()),
        (Server, [receipt(1, 1), message(2, 6, &batch(4), &in_batch(&[]).repeat(4))].concat()),
        (Client, ack(2, 1, &[id(7, 6)])),
        (Server, frame(8, &[number(1, 1), number(2, 2), number(3, 15), bytes(4, b"secret")], &[])),
    ]);
    vec![Sample { name: "both ways", pieces, exchanges: 5 }]
}
