//! Spans as protobuf, written straight into a buffer: a tree of `prost` structs would cost an allocation for each key and
//! string. Field numbers are those of `opentelemetry/proto/trace/v1/trace.proto` and `common/v1/common.proto`; the tests
//! compare with what `opentelemetry-proto` reads.

use std::{collections::HashMap, sync::Arc};

use compact_str::CompactString;
use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource as ResourceProto,
};
use prost::{
    Message,
    encoding::{encode_varint, encoded_len_varint},
};

use crate::{
    model::{
        ids::ProcessId,
        span::{Attribute, Kind, Resource, Span, Status, Value},
    },
    telemetry::semconv::{PROCESS_PID, SCHEMA_URL},
};

/// The wire types of protobuf that occur here.
const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;
const FIXED32: u8 = 5;

/// A field's tag; all field numbers here are below 16, so that it is one byte, but for [`FLAGS_TAG`].
const fn tag(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

/// `Span.flags` (16, fixed32).
const FLAGS_TAG: [u8; 2] = [FIXED32 | 0x80, 1];
/// Bytes of a span's fields that are always there: both ids, kind, both times, flags.
const FIXED_LEN: usize = (2 + 16) + (2 + 8) + 2 + (1 + 8) + (1 + 8) + (2 + 4);
/// Bytes of a link: both ids.
const LINK_LEN: u8 = (2 + 16) + (2 + 8);
/// `Span.status` with `code` ERROR.
const STATUS_ERROR: [u8; 4] = [tag(15, LEN), 2, tag(3, VARINT), 2];

/// Spans, encoded one behind the other.
///
/// Texts of a span are short and many: room for all of one is made before it is written, so that each is copied by a few moves
/// rather than by a call, and lengths of what stands within another are not counted twice.
#[derive(Debug, Default)]
pub(super) struct SpanBuffer {
    /// Room, written up to `len`.
    room: Vec<u8>,
    len: usize,
}

/// Bytes that are left for a span's length, which is nearly always of so many.
const SPAN_LEN_BYTES: usize = 2;
/// Most bytes of tags and lengths (or of a number) around the texts of an attribute.
const AROUND_ATTRIBUTE: usize = 4 * (1 + 10) + 10;
/// Most bytes of a span but for its attributes, links and texts.
const AROUND_SPAN: usize = FIXED_LEN + (1 + 10) + 2 * (1 + 10) + (2 + 8) + STATUS_ERROR.len();

impl SpanBuffer {
    /// What was written.
    pub(super) fn as_slice(&self) -> &[u8] {
        self.room.get(..self.len).unwrap_or_default()
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Forgets what was written, and keeps the room.
    pub(super) const fn clear(&mut self) {
        self.len = 0;
    }

    /// Bytes of memory that it holds.
    pub(super) const fn capacity(&self) -> usize {
        self.room.capacity()
    }

    /// Appends `span` as one element of `ScopeSpans.spans`.
    pub(super) fn push(&mut self, span: &Span) {
        let attributes: usize = span
            .attributes
            .iter()
            .map(|a| AROUND_ATTRIBUTE + a.key.len() + text_of(&a.value).map_or(0, str::len))
            .sum();
        let links = span.links.len() * (2 + usize::from(LINK_LEN));
        let most = AROUND_SPAN + span.name.len() + span.trace_state.len() + attributes + links;
        if self.room.len() < self.len + most {
            self.room.resize((self.len + most).next_power_of_two(), 0);
        }
        let mut out = Room { bytes: &mut self.room, at: self.len };
        out.byte(tag(2, LEN));
        let before = out.at;
        out.at += SPAN_LEN_BYTES;
        fields(span, &mut out);
        let len = out.at - before - SPAN_LEN_BYTES;
        let moved = varint_len(len as u64);
        if moved != SPAN_LEN_BYTES {
            let content = before + SPAN_LEN_BYTES..out.at;
            out.bytes.copy_within(content, before + moved);
        }
        out.at = before;
        out.varint(len as u64);
        self.len = out.at + len;
    }
}

/// The fields of a span.
fn fields(span: &Span, out: &mut Room<'_>) {
    out.text(1, &span.trace_id.0);
    out.text(2, &span.span_id.0);
    if !span.trace_state.is_empty() {
        out.text(3, span.trace_state.as_bytes());
    }
    if let Some(parent) = &span.parent {
        out.text(4, &parent.0);
    }
    if !span.name.is_empty() {
        out.text(5, span.name.as_bytes());
    }
    let kind = match span.kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
        Kind::Producer => 4,
        Kind::Consumer => 5,
    };
    out.array([tag(6, VARINT), kind]);
    out.fixed64(7, span.start_unix_ns);
    out.fixed64(8, span.end_unix_ns);
    for attribute in &span.attributes {
        self::attribute(9, attribute.key, &attribute.value, out);
    }
    for link in &span.links {
        out.array([tag(13, LEN), LINK_LEN]);
        out.text(1, &link.trace_id.0);
        out.text(2, &link.span_id.0);
    }
    if span.status == Status::Error {
        out.array(STATUS_ERROR);
    }
    out.array(FLAGS_TAG);
    out.array(u32::from(span.flags).to_le_bytes());
}

/// A `KeyValue` in the given field.
fn attribute(field: u8, key: &str, value: &Value, out: &mut Room<'_>) {
    let text = text_of(value);
    let value_len = text.map_or_else(|| number_len(value), |text| field_len(text.len()));
    let (len, key_len) = (field_len(key.len()) + field_len(value_len), key.len());
    match (u8::try_from(len), u8::try_from(key_len), u8::try_from(value_len)) {
        // All lengths within are smaller than it.
        (Ok(len @ ..0x80), Ok(key_len), Ok(value_len)) => {
            out.array([tag(field, LEN), len, tag(1, LEN), key_len]);
            out.copy(key.as_bytes());
            out.array([tag(2, LEN), value_len]);
        }
        _ => {
            out.byte(tag(field, LEN));
            out.varint(len as u64);
            out.text(1, key.as_bytes());
            out.byte(tag(2, LEN));
            out.varint(value_len as u64);
        }
    }
    match value {
        Value::Str(_) | Value::Shared(_) | Value::Static(_) => out.text(1, text.unwrap_or_default().as_bytes()),
        Value::Bool(value) => out.array([tag(2, VARINT), u8::from(*value)]),
        Value::Int(value) => {
            out.byte(tag(3, VARINT));
            out.varint(value.cast_unsigned());
        }
        Value::Double(value) => out.fixed64(4, value.to_bits()),
        Value::List(texts) => {
            out.byte(tag(5, LEN));
            out.varint(list_len(texts) as u64);
            for text in texts.iter() {
                out.byte(tag(1, LEN));
                out.varint(field_len(text.len()) as u64);
                out.text(1, text.as_bytes());
            }
        }
    }
}

/// Length of an `ArrayValue` of strings.
fn list_len(texts: &[CompactString]) -> usize {
    texts.iter().map(|text| field_len(field_len(text.len()))).sum()
}

fn text_of(value: &Value) -> Option<&str> {
    match value {
        Value::Str(text) => Some(text),
        Value::Shared(text) => Some(text),
        Value::Static(text) => Some(text),
        Value::Int(_) | Value::Double(_) | Value::Bool(_) | Value::List(_) => None,
    }
}

/// Length of an `AnyValue` that is no string.
fn number_len(value: &Value) -> usize {
    match value {
        Value::Int(value) => 1 + varint_len(value.cast_unsigned()),
        Value::Double(_) => 1 + 8,
        Value::List(texts) => field_len(list_len(texts)),
        Value::Bool(_) | Value::Str(_) | Value::Shared(_) | Value::Static(_) => 2,
    }
}

fn varint_len(value: u64) -> usize {
    if value < 0x80 { 1 } else { encoded_len_varint(value) }
}

/// Room that is large enough, and where in it the next byte goes. What finds none after all is left out.
struct Room<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Room<'_> {
    fn array<const N: usize>(&mut self, bytes: [u8; N]) {
        if let Some(to) = self.bytes.get_mut(self.at..).and_then(<[u8]>::first_chunk_mut) {
            *to = bytes;
            self.at += N;
        }
    }

    fn byte(&mut self, byte: u8) {
        self.array([byte]);
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.byte(value as u8 | 0x80);
            value >>= 7;
        }
        self.byte(value as u8);
    }

    fn fixed64(&mut self, field: u8, value: u64) {
        self.byte(tag(field, FIXED64));
        self.array(value.to_le_bytes());
    }

    fn text(&mut self, field: u8, text: &[u8]) {
        self.byte(tag(field, LEN));
        self.varint(text.len() as u64);
        self.copy(text);
    }

    /// Short texts by two moves that may overlap.
    fn copy(&mut self, from: &[u8]) {
        let Some(to) = self.bytes.get_mut(self.at..).and_then(|rest| rest.get_mut(..from.len())) else { return };
        match from.len() {
            ..4 => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
            4..8 => both_ends::<4>(to, from),
            8..16 => both_ends::<8>(to, from),
            16..=32 => both_ends::<16>(to, from),
            _ => to.copy_from_slice(from),
        }
        self.at += from.len();
    }
}

/// Copies what is of `N` to `2 * N` bytes.
fn both_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk()) {
        *to = *from;
    }
}

/// Length of a length-delimited field with a one-byte tag.
fn field_len(len: usize) -> usize {
    1 + varint_len(len as u64) + len
}

fn bytes(field: u8, value: &[u8], out: &mut Vec<u8>) {
    out.push(tag(field, LEN));
    encode_varint(value.len() as u64, out);
    out.extend_from_slice(value);
}

/// Encoded spans of one process of a resource, as they were pushed.
pub(super) type Slice<'a> = (&'a Arc<Resource>, ProcessId, &'a [u8]);

/// Writes an `ExportTraceServiceRequest` of encoded spans: one `ResourceSpans` for each process of each resource (the same
/// value, or an equal one), in the order they first occur.
pub(super) fn request<'a>(slices: impl Iterator<Item = Slice<'a>>, out: &mut Vec<u8>) {
    let groups = group(slices);
    let scope = scope().encode_to_vec();
    let schema_url = SCHEMA_URL.as_bytes();
    let mut parts = Vec::with_capacity(groups.len());
    let mut total = 0;
    for group in &groups {
        let resource = resource_of(group.resource, group.pid).encode_to_vec();
        let scope_spans = field_len(scope.len()) + group.len + field_len(schema_url.len());
        let resource_spans = field_len(resource.len()) + field_len(scope_spans) + field_len(schema_url.len());
        total += field_len(resource_spans);
        parts.push((resource, scope_spans, resource_spans));
    }
    out.reserve_exact(total);
    for (group, (resource, scope_spans, resource_spans)) in groups.iter().zip(parts) {
        out.push(tag(1, LEN));
        encode_varint(resource_spans as u64, out);
        bytes(1, &resource, out);
        out.push(tag(2, LEN));
        encode_varint(scope_spans as u64, out);
        bytes(1, &scope, out);
        for slice in &group.slices {
            out.extend_from_slice(slice);
        }
        // Of `ScopeSpans`, and of `ResourceSpans`.
        bytes(3, schema_url, out);
        bytes(3, schema_url, out);
    }
}

struct Group<'a> {
    resource: &'a Resource,
    pid: ProcessId,
    slices: Vec<&'a [u8]>,
    len: usize,
}

fn group<'a>(slices: impl Iterator<Item = Slice<'a>>) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut by_address: HashMap<(*const Resource, ProcessId), usize> = HashMap::new();
    let mut by_name: HashMap<(ProcessId, &str), Vec<usize>> = HashMap::new();
    let mut last: Option<((*const Resource, ProcessId), usize)> = None;
    for (resource, pid, slice) in slices {
        let address = (Arc::as_ptr(resource), pid);
        let index = match last {
            Some((known, index)) if known == address => index,
            _ => *by_address.entry(address).or_insert_with(|| {
                let alike = by_name.entry((pid, &resource.service_name)).or_default();
                let equal = |index: &usize| groups.get(*index).is_some_and(|group| group.resource == &**resource);
                alike.iter().copied().find(equal).unwrap_or_else(|| {
                    groups.push(Group { resource, pid, slices: Vec::new(), len: 0 });
                    alike.push(groups.len() - 1);
                    groups.len() - 1
                })
            }),
        };
        last = Some((address, index));
        if let Some(group) = groups.get_mut(index) {
            group.slices.push(slice);
            group.len += slice.len();
        }
    }
    groups
}

/// The instrumentation scope of all that is exported.
pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "beyla-rs".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// A resource as `opentelemetry-proto` has it.
pub(super) fn resource(resource: &Resource) -> ResourceProto {
    let attributes = resource.attributes.iter().map(|(key, value)| key_value(key, value)).collect();
    ResourceProto { attributes, ..ResourceProto::default() }
}

/// The same for one of its processes.
fn resource_of(of: &Resource, pid: ProcessId) -> ResourceProto {
    let mut resource = resource(of);
    if let Some(attribute) = resource.attributes.iter_mut().find(|attribute| attribute.key == PROCESS_PID) {
        attribute.value = Some(AnyValue { value: Some(any_value::Value::IntValue(pid.0.into())) });
    }
    resource
}

/// Attributes as `opentelemetry-proto` has them.
pub(super) fn attributes(attributes: &[Attribute]) -> Vec<KeyValue> {
    attributes.iter().map(|attribute| key_value(attribute.key, &attribute.value)).collect()
}

fn key_value(key: &str, value: &Value) -> KeyValue {
    let value = match value {
        Value::Str(text) => any_value::Value::StringValue(text.to_string()),
        Value::Shared(text) => any_value::Value::StringValue(text.to_string()),
        Value::Static(text) => any_value::Value::StringValue((*text).to_owned()),
        Value::Int(value) => any_value::Value::IntValue(*value),
        Value::Double(value) => any_value::Value::DoubleValue(*value),
        Value::Bool(value) => any_value::Value::BoolValue(*value),
        Value::List(texts) => {
            let of = |text: &CompactString| AnyValue { value: Some(any_value::Value::StringValue(text.to_string())) };
            any_value::Value::ArrayValue(ArrayValue { values: texts.iter().map(of).collect() })
        }
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        trace::v1::{ResourceSpans, Span as SpanProto, Status as StatusProto, span::Link as LinkProto},
    };

    use super::*;
    use crate::{
        export::testing,
        model::{span::Link, trace_context::SpanId},
    };

    /// The same through the generated structs.
    fn through_structs(span: &Span) -> SpanProto {
        SpanProto {
            trace_id: span.trace_id.0.to_vec(),
            span_id: span.span_id.0.to_vec(),
            parent_span_id: span.parent.map_or_else(Vec::new, |parent| parent.0.to_vec()),
            flags: span.flags.into(),
            trace_state: span.trace_state.to_string(),
            name: span.name.to_string(),
            kind: if span.kind == Kind::Server { 2 } else { 3 },
            start_time_unix_nano: span.start_unix_ns,
            end_time_unix_nano: span.end_unix_ns,
            attributes: attributes(&span.attributes),
            links: span.links.iter().map(link).collect(),
            status: (span.status == Status::Error).then(|| StatusProto { code: 2, message: String::new() }),
            ..SpanProto::default()
        }
    }

    fn link(link: &Link) -> LinkProto {
        let (trace_id, span_id) = (link.trace_id.0.to_vec(), link.span_id.0.to_vec());
        LinkProto { trace_id, span_id, ..LinkProto::default() }
    }

    fn encoded(spans: &[Span]) -> Vec<(Arc<Resource>, ProcessId, Vec<u8>)> {
        spans
            .iter()
            .map(|s| {
                let mut out = SpanBuffer::default();
                out.push(s);
                (Arc::clone(&s.resource), s.pid, out.as_slice().to_vec())
            })
            .collect()
    }

    fn decode(spans: &[Span]) -> ExportTraceServiceRequest {
        let encoded = encoded(spans);
        let mut message = Vec::new();
        request(encoded.iter().map(|(r, pid, b)| (r, *pid, &b[..])), &mut message);
        ExportTraceServiceRequest::decode(&message[..]).unwrap()
    }

    #[test]
    fn every_kind_of_value_and_field_reads_back_as_written() {
        let mut first = testing::span(1);
        first.links = [1, 2].map(|id| Link { trace_id: first.trace_id, span_id: SpanId([id; 8]) }).to_vec();
        first.attributes = vec![
            Attribute { key: "str", value: Value::Str("é".repeat(100).into()) },
            Attribute { key: "shared", value: Value::Shared("s".into()) },
            Attribute { key: "static", value: Value::Static("") },
            Attribute { key: "negative", value: Value::Int(-1) },
            Attribute { key: "int", value: Value::Int(i64::MAX) },
            Attribute { key: "double", value: Value::Double(-0.5) },
            Attribute { key: "no", value: Value::Bool(false) },
            Attribute { key: "yes", value: Value::Bool(true) },
        ];
        let mut second = testing::span(2);
        second.parent = None;
        second.name = "".into();
        second.trace_state = "".into();
        second.kind = Kind::Client;
        second.status = Status::Error;
        second.flags = 0;
        second.attributes = vec![];
        for span in [first, second] {
            let request = decode(std::slice::from_ref(&span));
            let scope_spans = &request.resource_spans[0].scope_spans[0];
            assert_eq!(scope_spans.spans, [through_structs(&span)]);
            assert_eq!(scope_spans.scope, Some(scope()));
            assert_eq!((&*scope_spans.schema_url, &*request.resource_spans[0].schema_url), (SCHEMA_URL, SCHEMA_URL));
            assert_eq!(request.resource_spans[0].resource, Some(resource(&span.resource)));
        }
    }

    #[test]
    fn texts_of_every_length_read_back_on_both_sides_of_every_varint_boundary_too() {
        for len in (0..=70).chain([126, 127, 128, 129, 16_383, 16_384, 16_385]) {
            let mut span = testing::span(1);
            let text: CompactString = ('a'..='z').cycle().take(len).collect();
            span.name = text.clone();
            span.attributes = vec![Attribute { key: "k", value: Value::Str(text) }];
            let request = decode(std::slice::from_ref(&span));
            assert_eq!(request.resource_spans[0].scope_spans[0].spans, [through_structs(&span)], "{len}");
        }
    }

    #[test]
    fn spans_are_grouped_by_resource_whether_the_same_or_equal() {
        let mut spans: Vec<Span> = (1..=5).map(testing::span).collect();
        let other = testing::resource("other", ProcessId(2));
        spans[1].resource = Arc::clone(&other);
        spans[3].resource = other;
        (spans[1].pid, spans[3].pid) = (ProcessId(2), ProcessId(2));
        spans[4].resource = Arc::new((*spans[0].resource).clone());
        let request = decode(&spans);
        let ids: Vec<Vec<u8>> = request
            .resource_spans
            .iter()
            .map(|group| group.scope_spans[0].spans.iter().map(|span| span.span_id[7]).collect())
            .collect();
        assert_eq!(ids, [vec![1, 3, 5], vec![2, 4]]);
        assert!(request.resource_spans.iter().all(|group| group.scope_spans.len() == 1));
    }

    #[test]
    fn each_process_of_an_instance_has_its_own_pid() {
        let mut spans: Vec<Span> = (1..=3).map(testing::span).collect();
        spans[1].pid = ProcessId(4712);
        let request = decode(&spans);
        let pid = |group: &ResourceSpans| {
            let attributes = &group.resource.as_ref().unwrap().attributes;
            attributes.iter().find(|attribute| attribute.key == PROCESS_PID).and_then(|pid| pid.value.clone())
        };
        let int = |value| Some(AnyValue { value: Some(any_value::Value::IntValue(value)) });
        let groups: Vec<_> =
            request.resource_spans.iter().map(|group| (pid(group), group.scope_spans[0].spans.len())).collect();
        assert_eq!(groups, [(int(4711), 2), (int(4712), 1)]);
    }

    /// Run by hand, in release: `cargo test --release -p beyla-rs --lib encode -- --ignored --nocapture`.
    #[test]
    #[ignore = "a measurement, not a check"]
    fn measure_encoding() {
        let spans: Vec<Span> = (0..4096).map(|n| testing::span(n + 1)).collect();
        let rounds = 200;
        let per_span = |started: std::time::Instant| started.elapsed().as_nanos() / (rounds * spans.len() as u128);
        let mut out = SpanBuffer::default();
        let started = std::time::Instant::now();
        for _ in 0..rounds {
            out.clear();
            spans.iter().for_each(|s| out.push(s));
            std::hint::black_box(&out);
        }
        println!("direct: {} ns/span, {} bytes/span", per_span(started), out.len() / spans.len());
        let mut out = Vec::new();
        let started = std::time::Instant::now();
        for _ in 0..rounds {
            out.clear();
            spans.iter().for_each(|s| through_structs(s).encode(&mut out).unwrap());
            std::hint::black_box(&out);
        }
        println!("structs: {} ns/span", per_span(started));
    }
}
