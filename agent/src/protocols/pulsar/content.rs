//! What stands behind a command: what is known of messages, and they themselves, of which nothing is kept.

use crate::{
    model::trace_context::TraceParent,
    protocols::{protobuf::Fields, sized::Cursor},
};

/// Contexts that are kept of one batch, and messages that are looked into for them.
const CONTEXTS_MAX: usize = 32;
const LOOKED_INTO_MAX: u64 = 256;

/// What is of interest.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// How many messages there are, where it is a batch.
    pub(super) batch: Option<u64>,
    /// Bytes of a single one.
    pub(super) body_bytes: Option<u64>,
    /// Contexts that messages carry, each once.
    pub(super) contexts: Vec<TraceParent>,
}

/// Reads as far as it is there; `None` where it is not told how many messages there are.
pub(super) fn read(mut at: Cursor<'_>) -> Option<Content> {
    let mut magic = at;
    if magic.take(2) == Some(&[0x0e, 0x02]) {
        // What the broker has added.
        let len = magic.u32()?;
        magic.skip(len.into())?;
        at = magic;
    }
    let mut magic = at;
    if magic.take(2) == Some(&[0x0e, 0x01]) {
        magic.skip(4)?;
        at = magic;
    }
    let len = at.u32()?;
    let metadata = Fields(at.take(len.into())?);
    let batch = metadata.number(11);
    let mut content = Content { batch, ..Content::default() };
    collect(metadata, 4, &mut content);
    match batch {
        None => content.body_bytes = Some(at.left()),
        // What is packed or encrypted is not looked into.
        Some(count) if metadata.number(8).unwrap_or_default() == 0 && metadata.bytes(13).is_none() => {
            let _as_far_as_it_is_there = look_into(at, count, &mut content);
        }
        Some(_) => {}
    }
    Some(content)
}

fn look_into(mut at: Cursor<'_>, count: u64, content: &mut Content) -> Option<()> {
    for _ in 0..count.min(LOOKED_INTO_MAX) {
        let len = at.u32()?;
        let metadata = Fields(at.take(len.into())?);
        collect(metadata, 1, content);
        at.skip(metadata.number(3)?)?;
    }
    Some(())
}

/// Contexts among properties, which stand in a field.
fn collect(metadata: Fields<'_>, properties: u64, content: &mut Content) {
    for property in metadata.all(properties).map(Fields) {
        let is_context = property.bytes(1).is_some_and(|key| key.eq_ignore_ascii_case(b"traceparent"));
        if is_context
            && let Some(context) = property.bytes(2).and_then(TraceParent::parse)
            && content.contexts.len() < CONTEXTS_MAX
            && !content.contexts.contains(&context)
        {
            content.contexts.push(context);
        }
    }
}
