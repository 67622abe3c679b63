//! Spans in few bytes: what queries look at first stands in a row per span, the rest is written one behind the other, with words
//! that recur (keys, names, values of the program's own) as numbers. A block is never changed once it is full.

mod wire;

use std::sync::{Arc, Weak};

pub(super) use self::wire::Known as KnownWhose;
use compact_str::CompactString;
use hashbrown::HashMap;

use crate::model::{
    ids::ProcessId,
    net::Endpoint,
    span::{Attribute, Kind, Link, Resource, Span, Value},
    trace_context::{SpanId, TraceId},
};

/// A block is full with so many bytes of what is written one behind the other …
const TEXT_MAX: usize = 64 << 10;
/// … or so many spans.
const SPANS_MAX: usize = 1024;
/// Longest text of a value that is kept; the rest is cut off. What comes from the wire is at most the captured bytes.
const VALUE_MAX: usize = 4 << 10;

/// Attributes that there is room for before it is known that there are more: what is on disk may say anything.
const ATTRIBUTES_USUAL: usize = 32;

const KINDS: [Kind; 5] = [Kind::Server, Kind::Client, Kind::Producer, Kind::Consumer, Kind::Internal];
const KIND_MASK: u8 = 7;
const IS_ERROR: u8 = 8;
const HAS_PARENT: u8 = 16;

/// Whose spans they are: what is kept of a resource. It does not hold the resource itself, which would seem to be in use.
#[derive(Debug, PartialEq)]
pub(crate) struct Whose {
    /// `service.name`.
    pub(crate) service: CompactString,
    /// `service.namespace`; empty where there is none.
    pub(crate) namespace: CompactString,
    /// All attributes.
    pub(crate) attributes: Vec<(CompactString, Value)>,
}

impl Whose {
    pub(super) fn of(resource: &Resource) -> Self {
        let namespace = resource.attributes.iter().find(|(key, _)| key == "service.namespace");
        Self {
            service: resource.service_name.clone(),
            namespace: namespace.map(|(_, value)| text_of(value)).unwrap_or_default(),
            attributes: resource.attributes.clone(),
        }
    }

    fn bytes(&self) -> usize {
        let heap = |value: &Value| if let Value::Str(text) = value { text.len() } else { 0 };
        let attributes: usize = self
            .attributes
            .iter()
            .map(|(key, value)| key.len() + heap(value) + size_of::<(CompactString, Value)>())
            .sum();
        size_of::<Self>() + attributes
    }
}

/// A value as text.
pub(crate) fn text_of(value: &Value) -> CompactString {
    match value {
        Value::Str(text) => text.clone(),
        Value::Shared(text) => CompactString::from(&**text),
        Value::Static(text) => CompactString::const_new(text),
        Value::Int(value) => compact_str::format_compact!("{value}"),
        Value::Double(value) => compact_str::format_compact!("{value}"),
        Value::Bool(value) => compact_str::format_compact!("{value}"),
        Value::List(texts) => texts.join(",").into(),
    }
}

/// A span as it is read again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Kept {
    /// Its number: each span that is kept has a higher one than those before.
    pub(crate) number: u64,
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) kind: Kind,
    pub(crate) is_error: bool,
    pub(crate) name: CompactString,
    pub(crate) start_unix_ns: u64,
    pub(crate) end_unix_ns: u64,
    pub(crate) trace_state: CompactString,
    pub(crate) links: Vec<Link>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) whose: Arc<Whose>,
    pub(crate) pid: ProcessId,
    pub(crate) local: Option<CompactString>,
}

impl Kept {
    /// An attribute's value.
    pub(crate) fn get(&self, key: &str) -> Option<&Value> {
        self.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
    }

    /// The same as text.
    pub(crate) fn text(&self, key: &str) -> Option<CompactString> {
        self.get(key).map(text_of)
    }

    pub(crate) fn duration_ns(&self) -> u64 {
        self.end_unix_ns.saturating_sub(self.start_unix_ns)
    }
}

/// What queries look at first.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    pub(super) trace_id: TraceId,
    pub(super) start_unix_ns: u64,
    /// Saturated.
    pub(super) duration_us: u32,
    at: u32,
    whose: u16,
    flags: u8,
}

impl Head {
    pub(super) const fn is_error(&self) -> bool {
        self.flags & IS_ERROR != 0
    }

    pub(super) fn kind(&self) -> Kind {
        KINDS.get(usize::from(self.flags & KIND_MASK)).copied().unwrap_or(Kind::Internal)
    }
}

/// A word that recurs.
#[derive(Clone, Debug)]
enum Word {
    Static(&'static str),
    Shared(Arc<str>),
    Own(CompactString),
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Block {
    /// The number of its first span.
    pub(super) first: u64,
    /// Those of spans that came from another block, which do not count on from the first.
    numbers: Vec<u64>,
    pub(super) heads: Vec<Head>,
    text: Vec<u8>,
    words: Vec<Word>,
    pub(super) whose: Vec<Arc<Whose>>,
    /// Bytes of `whose` that no block before had.
    whose_bytes: usize,
}

impl Block {
    /// Bytes that it takes.
    pub(super) fn bytes(&self) -> usize {
        let words: usize = self
            .words
            .iter()
            .map(|word| size_of::<Word>() + if let Word::Own(text) = word { text.len() } else { 0 })
            .sum();
        size_of::<Self>()
            + self.heads.capacity() * size_of::<Head>()
            + self.numbers.capacity() * size_of::<u64>()
            + self.text.capacity()
            + words
            + self.whose.capacity() * size_of::<Arc<Whose>>()
            + self.whose_bytes
    }

    pub(super) fn whose(&self, head: &Head) -> Option<&Arc<Whose>> {
        self.whose.get(usize::from(head.whose))
    }

    pub(super) fn number(&self, index: usize) -> u64 {
        self.numbers.get(index).copied().unwrap_or(self.first + index as u64)
    }

    /// The number of the span behind its last one, where they count on.
    pub(super) fn end(&self) -> u64 {
        self.first + self.heads.len() as u64
    }

    /// The name of a span, without the rest of it.
    pub(super) fn name(&self, head: &Head) -> Option<&str> {
        let mut reader = Reader { bytes: self.text.get(head.at as usize..)? };
        self.word(reader.number()?)
    }

    /// The ids of a span and of its parent, without the rest of it.
    pub(super) fn ids(&self, head: &Head) -> Option<(SpanId, Option<SpanId>)> {
        let mut reader = Reader { bytes: self.text.get(head.at as usize..)? };
        let _name = reader.number()?;
        let span_id = SpanId(reader.array()?);
        let parent = if head.flags & HAS_PARENT != 0 { Some(SpanId(reader.array()?)) } else { None };
        Some((span_id, parent))
    }

    /// Whether any of its spans may have this attribute.
    pub(super) fn may_have(&self, key: &str) -> bool {
        self.words.iter().any(|word| matches!(word, Word::Static(its) if *its == key))
    }

    /// Its spans from this one on, as a block of their own: a copy of what came of late takes a part of the time that one of all takes.
    pub(super) fn tail(&self, from: usize) -> Self {
        let from = from.min(self.heads.len());
        let heads = self.heads.get(from..).unwrap_or_default();
        let begins = heads.first().map_or(0, |head| head.at);
        Self {
            first: self.first + from as u64,
            numbers: self.numbers.get(from..).unwrap_or_default().to_vec(),
            heads: heads.iter().map(|head| Head { at: head.at.saturating_sub(begins), ..*head }).collect(),
            text: self.text.get(begins as usize..).unwrap_or_default().to_vec(),
            words: self.words.clone(),
            whose: self.whose.clone(),
            whose_bytes: self.whose_bytes,
        }
    }

    fn word(&self, number: u64) -> Option<&str> {
        match self.words.get(usize::try_from(number).ok()?)? {
            Word::Static(text) => Some(text),
            Word::Shared(text) => Some(text),
            Word::Own(text) => Some(text),
        }
    }

    /// A span, read again.
    pub(super) fn read(&self, index: usize) -> Option<Kept> {
        let head = self.heads.get(index)?;
        let mut reader = Reader { bytes: self.text.get(head.at as usize..)? };
        let name = CompactString::from(self.word(reader.number()?)?);
        let span_id = SpanId(reader.array()?);
        let parent = if head.flags & HAS_PARENT != 0 { Some(SpanId(reader.array()?)) } else { None };
        let duration_ns = reader.number()?;
        let pid = ProcessId(u32::try_from(reader.number()?).ok()?);
        let local = CompactString::from(reader.text()?);
        let trace_state = CompactString::from(reader.text()?);
        let links = (0..reader.number()?)
            .map(|_| Some(Link { trace_id: TraceId(reader.array()?), span_id: SpanId(reader.array()?) }))
            .collect::<Option<Vec<_>>>()?;
        let count = usize::try_from(reader.number()?).ok()?;
        let mut attributes = Vec::with_capacity(count.min(ATTRIBUTES_USUAL));
        for _ in 0..count {
            let Word::Static(key) = self.words.get(usize::try_from(reader.number()?).ok()?)? else { return None };
            let value = match reader.byte()? {
                STR => Value::Str(reader.text()?.into()),
                WORD => match self.words.get(usize::try_from(reader.number()?).ok()?)? {
                    Word::Static(text) => Value::Static(text),
                    Word::Shared(text) => Value::Shared(Arc::clone(text)),
                    Word::Own(text) => Value::Str(text.clone()),
                },
                INT => Value::Int(unzigzag(reader.number()?)),
                DOUBLE => Value::Double(f64::from_le_bytes(reader.array()?)),
                other => Value::Bool(other == TRUE),
            };
            attributes.push(Attribute { key, value });
        }
        Some(Kept {
            number: self.number(index),
            trace_id: head.trace_id,
            span_id,
            parent,
            kind: head.kind(),
            is_error: head.is_error(),
            name,
            start_unix_ns: head.start_unix_ns,
            end_unix_ns: head.start_unix_ns.saturating_add(duration_ns),
            trace_state,
            links,
            attributes,
            whose: Arc::clone(self.whose(head)?),
            pid,
            local: Some(local).filter(|local| !local.is_empty()),
        })
    }
}

const STR: u8 = 0;
const WORD: u8 = 1;
const INT: u8 = 2;
const DOUBLE: u8 = 3;
const FALSE: u8 = 4;
const TRUE: u8 = 5;

/// Fills a block.
#[derive(Default)]
pub(super) struct Builder {
    pub(super) block: Block,
    /// Numbers of words that lie somewhere for good, by their address and length.
    by_address: HashMap<(usize, usize), u16, rustc_hash::FxBuildHasher>,
    /// Those of others.
    by_text: HashMap<CompactString, u16, rustc_hash::FxBuildHasher>,
    /// By address.
    whose: HashMap<usize, u16, rustc_hash::FxBuildHasher>,
}

/// A span to be written.
pub(super) struct Written<'a> {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) kind: Kind,
    pub(super) is_error: bool,
    pub(super) name: &'a str,
    pub(super) start_unix_ns: u64,
    pub(super) end_unix_ns: u64,
    pub(super) trace_state: &'a str,
    pub(super) links: &'a [Link],
    pub(super) attributes: &'a [Attribute],
    pub(super) pid: ProcessId,
}

impl<'a> Written<'a> {
    pub(super) fn of(span: &'a Span) -> Self {
        Self {
            trace_id: span.trace_id,
            span_id: span.span_id,
            parent: span.parent,
            kind: span.kind,
            is_error: span.has_failed(),
            name: &span.name,
            start_unix_ns: span.start_unix_ns,
            end_unix_ns: span.end_unix_ns,
            trace_state: &span.trace_state,
            links: &span.links,
            attributes: &span.attributes,
            pid: span.pid,
        }
    }

    pub(super) fn of_kept(kept: &'a Kept) -> Self {
        Self {
            trace_id: kept.trace_id,
            span_id: kept.span_id,
            parent: kept.parent,
            kind: kept.kind,
            is_error: kept.is_error,
            name: &kept.name,
            start_unix_ns: kept.start_unix_ns,
            end_unix_ns: kept.end_unix_ns,
            trace_state: &kept.trace_state,
            links: &kept.links,
            attributes: &kept.attributes,
            pid: kept.pid,
        }
    }
}

impl Builder {
    /// One whose first span has this number.
    pub(super) fn new(first: u64) -> Self {
        Self { block: Block { first, ..Block::default() }, ..Self::default() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.block.heads.len() >= SPANS_MAX || self.block.text.len() >= TEXT_MAX
    }

    /// The full block, which has no spare room; the next begins.
    pub(super) fn take(&mut self) -> Block {
        let next = Self::new(self.block.end());
        let mut block = std::mem::replace(self, next).block;
        block.heads.shrink_to_fit();
        block.text.shrink_to_fit();
        block.words.shrink_to_fit();
        block
    }

    /// Adds a span; `local` writes its end of the connection. `number`, where it is not the next.
    pub(super) fn write(&mut self, span: &Written<'_>, local: &Local<'_>, whose: &Arc<Whose>, number: Option<u64>) {
        let at = u32::try_from(self.block.text.len()).unwrap_or(u32::MAX);
        let duration_ns = span.end_unix_ns.saturating_sub(span.start_unix_ns);
        let kind = KINDS.iter().position(|kind| *kind == span.kind).unwrap_or(4) as u8;
        let flags =
            kind | if span.is_error { IS_ERROR } else { 0 } | if span.parent.is_some() { HAS_PARENT } else { 0 };
        let name = self.own_word(span.name);
        put(&mut self.block.text, name.into());
        self.block.text.extend_from_slice(&span.span_id.0);
        if let Some(parent) = span.parent {
            self.block.text.extend_from_slice(&parent.0);
        }
        put(&mut self.block.text, duration_ns);
        put(&mut self.block.text, span.pid.0.into());
        local.write(&mut self.block.text);
        put_text(&mut self.block.text, span.trace_state);
        put(&mut self.block.text, span.links.len() as u64);
        for link in span.links {
            self.block.text.extend_from_slice(&link.trace_id.0);
            self.block.text.extend_from_slice(&link.span_id.0);
        }
        put(&mut self.block.text, span.attributes.len() as u64);
        for Attribute { key, value } in span.attributes {
            let key = self.static_word(key);
            put(&mut self.block.text, key.into());
            self.value(value);
        }
        let whose = self.whose(whose);
        self.block.heads.push(Head {
            trace_id: span.trace_id,
            start_unix_ns: span.start_unix_ns,
            duration_us: u32::try_from(duration_ns / 1000).unwrap_or(u32::MAX),
            at,
            whose,
            flags,
        });
        if let Some(number) = number {
            self.block.numbers.push(number);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Str(text) => {
                self.block.text.push(STR);
                put_text(&mut self.block.text, text);
            }
            Value::Static(text) => {
                let word = self.static_word(text);
                self.block.text.push(WORD);
                put(&mut self.block.text, word.into());
            }
            Value::Shared(text) => {
                let key = (text.as_ptr().addr(), text.len());
                let words = &mut self.block.words;
                let word = *self.by_address.entry(key).or_insert_with(|| add(words, Word::Shared(Arc::clone(text))));
                self.block.text.push(WORD);
                put(&mut self.block.text, word.into());
            }
            Value::Int(value) => {
                self.block.text.push(INT);
                put(&mut self.block.text, zigzag(*value));
            }
            Value::Double(value) => {
                self.block.text.push(DOUBLE);
                self.block.text.extend_from_slice(&value.to_le_bytes());
            }
            Value::Bool(value) => self.block.text.push(if *value { TRUE } else { FALSE }),
            // As text: it is to be looked at.
            value @ Value::List(_) => {
                self.block.text.push(STR);
                put_text(&mut self.block.text, &text_of(value));
            }
        }
    }

    fn static_word(&mut self, text: &'static str) -> u16 {
        let key = (text.as_ptr().addr(), text.len());
        let words = &mut self.block.words;
        *self.by_address.entry(key).or_insert_with(|| add(words, Word::Static(text)))
    }

    fn own_word(&mut self, text: &str) -> u16 {
        if let Some(word) = self.by_text.get(text) {
            return *word;
        }
        let text = CompactString::from(cut(text));
        let word = add(&mut self.block.words, Word::Own(text.clone()));
        self.by_text.insert(text, word);
        word
    }

    fn whose(&mut self, whose: &Arc<Whose>) -> u16 {
        let block = &mut self.block;
        *self.whose.entry(Arc::as_ptr(whose).addr()).or_insert_with(|| {
            // Counted for each block that refers to it: at most too much.
            block.whose_bytes += whose.bytes();
            block.whose.push(Arc::clone(whose));
            (block.whose.len() - 1) as u16
        })
    }
}

/// A block has at most as many words as its spans have names and attributes of ours: far fewer than 65,536.
fn add(words: &mut Vec<Word>, word: Word) -> u16 {
    words.push(word);
    u16::try_from(words.len() - 1).unwrap_or(u16::MAX)
}

/// A process's end of a connection.
pub(super) enum Local<'a> {
    Of(&'a Endpoint),
    Text(Option<&'a str>),
}

impl Local<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Of(Endpoint::Unknown) | Self::Text(None) => put(out, 0),
            Self::Text(Some(text)) => put_text(out, text),
            Self::Of(known) => {
                use std::io::Write as _;
                let mut text = [0; 128];
                let mut room = text.as_mut_slice();
                // A longer name of a unix socket is cut.
                let _fits = write!(room, "{known}").is_ok();
                let left = room.len();
                let text = text.get(..128 - left).unwrap_or_default();
                let text = std::str::from_utf8(text).unwrap_or_default();
                put_text(out, text);
            }
        }
    }
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(VALUE_MAX)).unwrap_or_default()
}

pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = cut(text);
    put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// LEB128.
pub(super) fn put(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*array)
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.bytes.split_at_checked(length)?;
        self.bytes = rest;
        std::str::from_utf8(text).ok()
    }
}

/// What is known of resources that spans come with, by their address. A weak reference keeps the address from being used again.
#[derive(Default)]
pub(super) struct Resources {
    known: HashMap<usize, Known, rustc_hash::FxBuildHasher>,
}

pub(super) struct Known {
    resource: Weak<Resource>,
    pub(super) whose: Arc<Whose>,
    /// About the 99th percentile of its durations as a server, and as a client, in µs.
    slow_us: [f32; 2],
}

/// Most resources before those are forgotten that nobody has any more.
const RESOURCES_MAX: usize = 4096;
/// How far a quantile's estimate moves with a value above it, as a share of it; below, 99 times less.
const STEP: f32 = 0.02;
/// What takes less is not slow, whatever else there is.
const SLOW_LEAST_US: f32 = 5_000.0;

impl Resources {
    pub(super) fn get(&mut self, resource: &Arc<Resource>) -> &mut Known {
        if self.known.len() >= RESOURCES_MAX {
            self.known.retain(|_, known| known.resource.strong_count() > 0);
            if self.known.len() >= RESOURCES_MAX {
                self.known.clear();
            }
        }
        self.known.entry(Arc::as_ptr(resource).addr()).or_insert_with(|| Known {
            resource: Arc::downgrade(resource),
            whose: Arc::new(Whose::of(resource)),
            slow_us: [0.0; 2],
        })
    }
}

impl Known {
    /// Whether it took longer than nearly all that the service did of late.
    pub(super) fn is_slow(&mut self, kind: Kind, duration_us: u64) -> bool {
        let estimate = match kind {
            Kind::Server | Kind::Consumer | Kind::Internal => &mut self.slow_us[0],
            Kind::Client | Kind::Producer => &mut self.slow_us[1],
        };
        let duration = duration_us as f32;
        if *estimate <= 0.0 {
            *estimate = (4.0 * duration).max(1.0);
            return false;
        }
        let is_above = duration > *estimate;
        *estimate *= if is_above { 1.0 + STEP } else { 1.0 - STEP / 99.0 };
        *estimate = estimate.max(1.0);
        is_above && duration >= SLOW_LEAST_US
    }
}
