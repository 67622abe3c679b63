//! How many rows came back: that stands behind what their columns are.

use super::message::Parts;

/// Types within types that are walked.
const MAX_DEPTH: usize = 8;

const GLOBAL: i32 = 0x01;
const MORE_PAGES: i32 = 0x02;
const NO_METADATA: i32 = 0x04;
const CHANGED: i32 = 0x08;

/// `None` where it was not seen.
pub(super) fn rows(mut parts: Parts<'_>, version: u8) -> Option<u64> {
    let (flags, columns) = (parts.int()?, parts.int()?);
    if flags & MORE_PAGES != 0 {
        parts.bytes()?;
    }
    if version >= 5 && flags & CHANGED != 0 {
        parts.string()?;
    }
    if flags & NO_METADATA == 0 {
        if flags & GLOBAL != 0 {
            parts.string()?;
            parts.string()?;
        }
        for _ in 0..columns {
            if flags & GLOBAL == 0 {
                parts.string()?;
                parts.string()?;
            }
            parts.string()?;
            pass_type(&mut parts, 0)?;
        }
    }
    u64::try_from(parts.int()?).ok()
}

fn pass_type(parts: &mut Parts<'_>, depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    match parts.short()? {
        0x00 => {
            parts.string()?;
        }
        0x20 | 0x22 => pass_type(parts, depth + 1)?,
        0x21 => {
            pass_type(parts, depth + 1)?;
            pass_type(parts, depth + 1)?;
        }
        0x30 => {
            parts.string()?;
            parts.string()?;
            for _ in 0..parts.short()? {
                parts.string()?;
                pass_type(parts, depth + 1)?;
            }
        }
        0x31 => {
            for _ in 0..parts.short()? {
                pass_type(parts, depth + 1)?;
            }
        }
        _ => {}
    }
    Some(())
}
