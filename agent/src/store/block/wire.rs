//! Blocks as bytes, for the disk. What is read back may be of another version of the agent, or damaged in a way that no checksum tells:
//! every number is held against what is there.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use hashbrown::HashMap;

use super::{
    Block, DOUBLE, FALSE, Head, INT, Reader, STR, TRUE, Whose, Word, put, put_text, text_of, unzigzag, zigzag,
};
use crate::model::{propagation, span::Value, trace_context::TraceId};

/// Most names of attributes that are known of what is read.
const KEYS_MAX: usize = 4096;
/// Most entries of a list.
const ENTRIES_MAX: u64 = 65_536;

/// Names of attributes, which live as long as the agent. There are as many as there are in its own code, and in that of those before.
fn key_of(text: &str) -> Option<&'static str> {
    static KEYS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut keys = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(key) = keys.get(text) {
        return Some(key);
    }
    if keys.len() >= KEYS_MAX {
        return None;
    }
    let key = propagation::key(text);
    keys.insert(key);
    Some(key)
}

/// Those whose spans were read, so that what is the same is one.
#[derive(Default)]
pub(in crate::store) struct Known(HashMap<Vec<u8>, Arc<Whose>>);

impl Block {
    /// As bytes.
    pub(in crate::store) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.text.len() + self.heads.len() * 32);
        put(&mut out, self.first);
        put(&mut out, self.heads.len() as u64);
        for head in &self.heads {
            out.extend_from_slice(&head.trace_id.0);
            put(&mut out, head.start_unix_ns);
            put(&mut out, head.duration_us.into());
            put(&mut out, head.at.into());
            put(&mut out, head.whose.into());
            out.push(head.flags);
        }
        put(&mut out, self.words.len() as u64);
        for word in &self.words {
            let (is_static, text) = match word {
                Word::Static(text) => (1, *text),
                Word::Shared(text) => (0, &**text),
                Word::Own(text) => (0, text.as_str()),
            };
            out.push(is_static);
            put_text(&mut out, text);
        }
        put(&mut out, self.whose.len() as u64);
        for whose in &self.whose {
            let mut one = Vec::new();
            whose.encode(&mut one);
            put(&mut out, one.len() as u64);
            out.extend_from_slice(&one);
        }
        put(&mut out, self.text.len() as u64);
        out.extend_from_slice(&self.text);
        out
    }

    /// One that was written; `None`: it is none.
    pub(in crate::store) fn decode(bytes: &[u8], known: &mut Known) -> Option<Self> {
        let mut reader = Reader { bytes };
        let mut block = Self { first: reader.number()?, ..Self::default() };
        for _ in 0..reader.entries()? {
            block.heads.push(Head {
                trace_id: TraceId(reader.array()?),
                start_unix_ns: reader.number()?,
                duration_us: u32::try_from(reader.number()?).ok()?,
                at: u32::try_from(reader.number()?).ok()?,
                whose: u16::try_from(reader.number()?).ok()?,
                flags: reader.byte()?,
            });
        }
        for _ in 0..reader.entries()? {
            let is_static = reader.byte()? == 1;
            let text = reader.text()?;
            block.words.push(if is_static { Word::Static(key_of(text)?) } else { Word::Own(text.into()) });
        }
        for _ in 0..reader.entries()? {
            let one = reader.part()?;
            let whose = match known.0.get(one) {
                Some(whose) => Arc::clone(whose),
                None => {
                    let whose = Arc::new(Whose::decode(&mut Reader { bytes: one })?);
                    known.0.insert(one.to_owned(), Arc::clone(&whose));
                    block.whose_bytes += whose.bytes();
                    whose
                }
            };
            block.whose.push(whose);
        }
        block.text = reader.part()?.to_owned();
        reader.bytes.is_empty().then_some(block)
    }
}

impl Whose {
    fn encode(&self, out: &mut Vec<u8>) {
        put_text(out, &self.service);
        put_text(out, &self.namespace);
        put(out, self.attributes.len() as u64);
        for (key, value) in &self.attributes {
            put_text(out, key);
            match value {
                Value::Int(value) => {
                    out.push(INT);
                    put(out, zigzag(*value));
                }
                Value::Double(value) => {
                    out.push(DOUBLE);
                    out.extend_from_slice(&value.to_le_bytes());
                }
                Value::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
                text => {
                    out.push(STR);
                    put_text(out, &text_of(text));
                }
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        let (service, namespace) = (reader.text()?.into(), reader.text()?.into());
        let mut attributes = Vec::new();
        for _ in 0..reader.entries()? {
            let key = reader.text()?.into();
            let value = match reader.byte()? {
                STR => Value::Str(reader.text()?.into()),
                INT => Value::Int(unzigzag(reader.number()?)),
                DOUBLE => Value::Double(f64::from_le_bytes(reader.array()?)),
                other => Value::Bool(other == TRUE),
            };
            attributes.push((key, value));
        }
        Some(Self { service, namespace, attributes })
    }
}

impl<'a> Reader<'a> {
    /// The length of a list. Each entry takes a byte at least.
    pub(in crate::store) fn entries(&mut self) -> Option<u64> {
        self.number().filter(|entries| *entries <= ENTRIES_MAX.min(self.bytes.len() as u64))
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (part, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        Some(part)
    }
}
