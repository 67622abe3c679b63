//! Blocks: columns of rows, as far as it can be told from their types how long they are.

use super::reader::{Read, Reader, Stop, holds};

/// Most columns and rows that are believed.
const COLUMNS_MAX: u64 = 4096;
const ROWS_MAX: u64 = 1 << 32;
/// Types within types.
const DEPTH_MAX: usize = 8;
/// Longest name of a column or a type.
const MAX_NAME: u64 = 4096;
/// Revision from which on a column says whether it is written in a way of its own.
const CUSTOM: u64 = 54_454;
/// The same of a block that says of which part it is.
const INFO: u64 = 51_903;
/// Bytes of the head of what is compressed, behind a checksum of sixteen.
const PACKED_HEAD: u32 = 9;
/// Most bytes that are compressed at a time.
const PACKED_MAX: u32 = 1 << 30;

/// Passes over a block; gives how many rows it has.
pub(super) fn plain(at: &mut Reader<'_>, revision: u64) -> Read<u64> {
    if revision >= INFO {
        loop {
            match at.number()? {
                0 => break,
                1 => at.u8().map(drop)?,
                2 => at.array::<4>().map(drop)?,
                _ => return Err(Stop::No),
            }
        }
    }
    let (columns, rows) = (at.number()?, at.number()?);
    holds(columns <= COLUMNS_MAX && rows <= ROWS_MAX)?;
    for _ in 0..columns {
        let (_name, kind) = (at.text(MAX_NAME)?, at.text(MAX_NAME)?);
        if revision >= CUSTOM {
            holds(at.u8()? == 0)?;
        }
        if rows > 0 {
            column(at, kind, rows, 0)?;
        }
    }
    Ok(rows)
}

fn column(at: &mut Reader<'_>, kind: &str, rows: u64, depth: usize) -> Read<()> {
    holds(depth < DEPTH_MAX)?;
    if let Some(width) = width(kind) {
        let len = rows.checked_mul(width).ok_or(Stop::No)?;
        return at.take(len).map(drop);
    }
    if kind == "String" {
        for _ in 0..rows {
            let len = at.number()?;
            at.take(len)?;
        }
        return Ok(());
    }
    if let Some(inner) = within(kind, "Nullable") {
        at.take(rows)?;
        return column(at, inner, rows, depth + 1);
    }
    if let Some(inner) = within(kind, "Array") {
        // Where each row's end.
        let ends = at.take(rows.checked_mul(8).ok_or(Stop::No)?)?;
        let total = ends.last_chunk().map(|end| u64::from_le_bytes(*end)).unwrap_or_default();
        holds(total <= ROWS_MAX)?;
        return if total > 0 { column(at, inner, total, depth + 1) } else { Ok(()) };
    }
    Err(Stop::No)
}

/// What stands in a type's parentheses.
fn within<'a>(kind: &'a str, name: &str) -> Option<&'a str> {
    kind.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

/// Bytes of a value, where all have as many.
fn width(kind: &str) -> Option<u64> {
    let name = kind.split('(').next()?;
    Some(match name {
        "UInt8" | "Int8" | "Bool" | "Enum8" | "Nothing" => 1,
        "UInt16" | "Int16" | "Date" | "Enum16" | "BFloat16" => 2,
        "UInt32" | "Int32" | "Float32" | "DateTime" | "Date32" | "IPv4" | "Decimal32" => 4,
        "UInt64" | "Int64" | "Float64" | "DateTime64" | "Decimal64" | "Time64" => 8,
        "UInt128" | "Int128" | "UUID" | "IPv6" | "Decimal128" => 16,
        "UInt256" | "Int256" | "Decimal256" => 32,
        "FixedString" => within(kind, name)?.parse().ok().filter(|len| (1..1 << 20).contains(len))?,
        "Decimal" => match within(kind, name)?.split(',').next()?.trim().parse::<u32>().ok()? {
            0..=9 => 4,
            10..=18 => 8,
            19..=38 => 16,
            39..=76 => 32,
            _ => return None,
        },
        name if name.starts_with("Interval") => 8,
        _ => return None,
    })
}

/// The bytes of one part of a compressed block, with what stands before them.
pub(super) fn packed(bytes: &[u8]) -> Read<u64> {
    let mut at = Reader::new(bytes);
    let _checksum: [u8; 16] = at.array()?;
    // Not at all, by LZ4, by ZSTD, or after one of several codecs.
    holds(matches!(at.u8()?, 0x02 | 0x82 | 0x90 | 0x91..=0x9f))?;
    let len = u32::from_le_bytes(at.array()?);
    let unpacked = u32::from_le_bytes(at.array()?);
    holds((PACKED_HEAD..PACKED_MAX).contains(&len) && (1..PACKED_MAX).contains(&unpacked))?;
    Ok(16 + u64::from(len))
}
