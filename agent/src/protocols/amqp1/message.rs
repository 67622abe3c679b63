//! What a message says of itself before its body.

use compact_str::CompactString;

use super::values::{Value, next};
use crate::{model::trace_context::TraceParent, protocols::sized::Cursor};

/// Sections, in their order.
const ANNOTATIONS: u64 = 0x72;
const PROPERTIES: u64 = 0x73;
const OF_APPLICATION: u64 = 0x74;
/// Most entries of a map that are looked at.
const ENTRIES_MAX: u32 = 64;

/// What is of interest.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) context: Option<TraceParent>,
    /// Where it goes, if the link does not say it.
    pub(super) to: Option<CompactString>,
    pub(super) id: Option<CompactString>,
}

/// Reads as far as the body.
pub(super) fn read(mut at: Cursor<'_>) -> Said {
    let mut said = Said::default();
    while let Some(Value::Described(Some(section), value)) = next(&mut at) {
        match section {
            PROPERTIES => {
                if let Some([id, _, to]) = next(&mut value.clone()).and_then(Value::members) {
                    (said.id, said.to) = (id.text(), to.text());
                }
            }
            ANNOTATIONS | OF_APPLICATION => said.context = context(value).or(said.context),
            0x70 | 0x71 => {}
            _ => break,
        }
    }
    said
}

fn context(mut value: Cursor<'_>) -> Option<TraceParent> {
    let Value::List(mut at, count) = next(&mut value)? else { return None };
    for _ in 0..count.min(2 * ENTRIES_MAX) / 2 {
        let (key, value) = (next(&mut at)?, next(&mut at)?);
        if key.text().as_deref() == Some("traceparent") {
            return TraceParent::parse(value.text()?.as_bytes());
        }
    }
    None
}
