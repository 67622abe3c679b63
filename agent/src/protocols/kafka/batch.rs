//! Records: how many messages there are, and the contexts that they carry. Of keys and values nothing is kept.

use std::io::Read as _;

use flate2::read::GzDecoder;

use crate::{model::trace_context::TraceParent, protocols::sized::Cursor};

/// Records of a batch that are looked into for what they carry.
const LOOKED_INTO_MAX: u32 = 256;
/// Contexts that are kept of the messages of one partition.
pub(super) const CONTEXTS_MAX: usize = 32;
/// Most bytes of a compressed batch that are unpacked.
const UNPACKED_MAX: u64 = 64 << 10;
/// Bytes of a batch before the records.
const HEAD: u64 = 61;

/// What of attributes says how records are compressed.
const CODEC: u16 = 0b111;
const GZIP: u16 = 1;
/// What says that a batch is a mark of the end of a transaction.
const CONTROL: u16 = 1 << 5;

/// What is known of a partition's records.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Records {
    /// Messages; `None` where not all was there to be counted.
    pub(super) messages: Option<u64>,
    /// The offset of the first that counts.
    pub(super) first_offset: Option<i64>,
    /// Bytes of the value of a single message.
    pub(super) body_bytes: Option<u64>,
    /// Contexts that messages carry, each once.
    pub(super) contexts: Vec<TraceParent>,
}

/// Reads batches. Those with offsets below `from` were not asked for.
pub(super) fn read(mut cursor: Cursor<'_>, from: Option<i64>) -> Records {
    let mut records = Records { messages: Some(0), ..Records::default() };
    // What is left over is the beginning of a batch that had no room.
    while cursor.left() > 0 {
        let mut head = cursor;
        let Some((base, length)) = offset_and_length(&mut head) else {
            if cursor.left() >= 12 {
                records.messages = None;
            }
            break;
        };
        let Some(batch) = head.part(length) else { break };
        cursor = head;
        match one(batch, base, length, from, &mut records) {
            Some(count) => records.messages = records.messages.map(|messages| messages.saturating_add(count)),
            None => records.messages = None,
        }
    }
    if records.messages != Some(1) {
        records.body_bytes = None;
    }
    records
}

fn offset_and_length(head: &mut Cursor<'_>) -> Option<(i64, u64)> {
    let base = head.u64()?.cast_signed();
    Some((base, u64::from(head.u32()?)))
}

/// One batch, or a message of the format before batches; gives how many messages of it count.
fn one(mut batch: Cursor<'_>, base: i64, length: u64, from: Option<i64>, records: &mut Records) -> Option<u64> {
    batch.skip(4)?;
    match batch.u8()? {
        2 => {}
        0 | 1 => {
            // A compressed one holds others.
            let is_plain = u16::from(batch.u8()?) & CODEC == 0;
            records.first_offset.get_or_insert(base);
            return is_plain.then_some(u64::from(from.is_none_or(|from| base >= from)));
        }
        _ => return None,
    }
    batch.skip(4)?;
    let attributes = batch.u16()?;
    let last_offset_delta = i64::from(batch.u32()?.cast_signed());
    batch.skip(8 + 8 + 8 + 2 + 4)?;
    let count = u64::from(batch.u32()?);
    if attributes & CONTROL != 0 {
        return Some(0);
    }
    if count > length {
        return None;
    }
    let from = from.filter(|from| *from > base);
    let counted = match from {
        None => count,
        // It is sent whole. What stands before the offset that was asked for is known where none is missing within it.
        Some(from) => {
            let after =
                u64::try_from(base.checked_add(last_offset_delta)?.checked_sub(from)?.checked_add(1)?).unwrap_or(0);
            if after > 0 && u64::try_from(last_offset_delta).ok()?.checked_add(1)? != count {
                return None;
            }
            after
        }
    };
    if counted > 0 {
        records.first_offset.get_or_insert(from.unwrap_or(base));
    }
    let skipped = count.saturating_sub(counted);
    match attributes & CODEC {
        0 => look_into(batch, count, skipped, records),
        GZIP => {
            if let Some(packed) = batch.take(length - (HEAD - 12)) {
                let mut unpacked = Vec::new();
                // What has come before an error is looked into.
                let _end = GzDecoder::new(packed).take(UNPACKED_MAX).read_to_end(&mut unpacked);
                look_into(Cursor::of(&unpacked), count, skipped, records)
            } else {
                None
            }
        }
        _ => None,
    };
    Some(counted)
}

/// Looks for what messages carry, as far as they are there.
fn look_into(mut cursor: Cursor<'_>, count: u64, skipped: u64, records: &mut Records) -> Option<()> {
    for nth in 0..count.min(LOOKED_INTO_MAX.into()) {
        let length = varint(&mut cursor)?;
        let mut record = cursor.part(u64::try_from(length).ok()?)?;
        if nth < skipped {
            continue;
        }
        record.skip(1)?;
        let _time = varint(&mut record)?;
        let _offset = varint(&mut record)?;
        let _key = skip_bytes(&mut record)?;
        let value = skip_bytes(&mut record)?;
        records.body_bytes.get_or_insert(value);
        for _ in 0..varint(&mut record)? {
            let key = bytes(&mut record)?;
            let value_length = u64::try_from(varint(&mut record)?.max(0)).ok()?;
            if key.eq_ignore_ascii_case(b"traceparent") {
                if let Some(context) = TraceParent::parse(record.take(value_length)?)
                    && records.contexts.len() < CONTEXTS_MAX
                    && !records.contexts.contains(&context)
                {
                    records.contexts.push(context);
                }
            } else {
                record.skip(value_length)?;
            }
        }
    }
    Some(())
}

/// A varint, whose lowest bit is the sign.
fn varint(cursor: &mut Cursor<'_>) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..70).step_by(7) {
        let byte = cursor.u8()?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}

fn bytes<'a>(cursor: &mut Cursor<'a>) -> Option<&'a [u8]> {
    let length = varint(cursor)?;
    cursor.take(u64::try_from(length).ok()?)
}

/// Passes over bytes, of which there may be none; gives how many there are.
fn skip_bytes(cursor: &mut Cursor<'_>) -> Option<u64> {
    let length = u64::try_from(varint(cursor)?.max(0)).ok()?;
    cursor.skip(length)?;
    Some(length)
}
