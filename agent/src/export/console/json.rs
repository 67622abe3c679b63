//! A span as a JSON object in one line, with the fields of `--print json`. `parent_span_id` is `null` where there is no
//! parent; times are numbers (ns since the Unix epoch).

use std::{collections::BTreeMap, io};

use serde::{
    Serialize, Serializer,
    ser::{SerializeMap, SerializeStruct},
};
use serde_json::ser::Formatter;

use crate::{
    model::span::{Link, Span, Status, Value},
    telemetry::semconv::PROCESS_PID,
    terminal::acts_on_terminal,
};

/// Appends the line.
pub(super) fn line(span: &Span, out: &mut String) {
    let mut line = Vec::new();
    let written = Line(span).serialize(&mut serde_json::Serializer::with_formatter(&mut line, Harmless));
    match written.map(|()| String::from_utf8(line)) {
        Ok(Ok(line)) => {
            out.push_str(&line);
            out.push('\n');
        }
        // What is written is text.
        Ok(Err(_)) => {}
        // All keys are strings and no value fails to serialize.
        Err(error) => tracing::error!(%error, "cannot write a span as JSON"),
    }
}

/// Compact JSON in which what a terminal would act on is escaped too: JSON itself asks that of few of these only.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| acts_on_terminal(*c)) {
            let (before, after) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = after.get(c.len_utf8()..).unwrap_or_default();
        }
        writer.write_all(rest.as_bytes())
    }
}

struct Line<'a>(&'a Span);

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let span = self.0;
        let mut object = serializer.serialize_struct("Span", 11)?;
        object.serialize_field("trace_id", &format_args!("{}", span.trace_id))?;
        object.serialize_field("span_id", &format_args!("{}", span.span_id))?;
        object.serialize_field("parent_span_id", &span.parent.map(|parent| parent.to_string()))?;
        object.serialize_field("kind", span.kind.name())?;
        object.serialize_field("name", span.name.as_str())?;
        object.serialize_field("start_unix_nano", &span.start_unix_ns)?;
        object.serialize_field("end_unix_nano", &span.end_unix_ns)?;
        object.serialize_field("status", if span.status == Status::Error { "ERROR" } else { "UNSET" })?;
        object.serialize_field("attributes", &Flat(|| span.attributes.iter().map(|a| (a.key, &a.value))))?;
        if !span.links.is_empty() {
            object.serialize_field("links", &Links(&span.links))?;
        }
        if !span.trace_state.is_empty() {
            object.serialize_field("trace_state", span.trace_state.as_str())?;
        }
        let pid = Value::Int(span.pid.0.into());
        let value = |key, value| if key == PROCESS_PID { &pid } else { value };
        let resource = || span.resource.attributes.iter().map(|(key, its)| (key.as_str(), value(key.as_str(), its)));
        object.serialize_field("resource", &Flat(resource))?;
        object.end()
    }
}

struct Links<'a>(&'a [Link]);

impl Serialize for Links<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|link| {
            BTreeMap::from([("trace_id", link.trace_id.to_string()), ("span_id", link.span_id.to_string())])
        }))
    }
}

/// Pairs as one object; of a key that occurs twice, the last.
struct Flat<F>(F);

impl<'a, F: Fn() -> I, I: Iterator<Item = (&'a str, &'a Value)>> Serialize for Flat<F> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (index, (key, value)) in (self.0)().enumerate() {
            if (self.0)().skip(index + 1).any(|(later, _)| later == key) {
                continue;
            }
            match value {
                Value::Str(text) => object.serialize_entry(key, text.as_str())?,
                Value::Shared(text) => object.serialize_entry(key, &**text)?,
                Value::Static(text) => object.serialize_entry(key, text)?,
                Value::Int(value) => object.serialize_entry(key, value)?,
                Value::Double(value) => object.serialize_entry(key, value)?,
                Value::Bool(value) => object.serialize_entry(key, value)?,
                Value::List(texts) => {
                    object.serialize_entry(key, &texts.iter().map(|text| text.as_str()).collect::<Vec<_>>())?;
                }
            }
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::testing,
        model::{
            ids::ProcessId,
            span::{Attribute, Kind},
        },
    };

    fn printed(span: &Span) -> String {
        let mut out = String::new();
        line(span, &mut out);
        out
    }

    #[test]
    fn a_span_is_the_object_that_the_interface_names() {
        let mut span = testing::span(1);
        span.attributes.truncate(2);
        span.attributes.push(Attribute { key: "a.double", value: Value::Double(0.5) });
        span.attributes.push(Attribute { key: "a.bool", value: Value::Bool(true) });
        span.attributes
            .push(Attribute { key: "a.string", value: Value::Str("\"\x1b\n\u{7f}\u{9b}é\u{202e}\u{e0001}".into()) });
        assert_eq!(
            printed(&span),
            concat!(
                r#"{"trace_id":"4b4b4b4b4b4b4b4b0000000000000001","span_id":"0000000000000001","#,
                r#""parent_span_id":"0707070707070707","kind":"SERVER","name":"GET /api/items/{id}","#,
                r#""start_unix_nano":1763720401234567890,"end_unix_nano":1763720401235802290,"status":"UNSET","#,
                r#""attributes":{"http.request.method":"GET","http.response.status_code":200,"a.double":0.5,"#,
                r#""a.bool":true,"a.string":"\"\u001b\n\u007f\u009bé\u202e\udb40\udc01"},"#,
                r#""trace_state":"vendor=1","resource":{"service.name":"shop-api","service.namespace":"shop","service.instance.id":"i-1","#,
                r#""process.pid":4711}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn the_pid_is_that_of_the_process_that_served_it() {
        let mut span = testing::span(1);
        span.pid = ProcessId(4712);
        assert!(printed(&span).contains(r#""service.instance.id":"i-1","process.pid":4712}"#));
    }

    #[test]
    fn a_root_has_a_null_parent_and_a_key_occurs_once() {
        let mut span = testing::span(1);
        span.parent = None;
        span.kind = Kind::Client;
        span.status = Status::Error;
        let attribute = |value| Attribute { key: "k", value: Value::Int(value) };
        span.attributes = vec![attribute(1), attribute(2)];
        let line = printed(&span);
        assert!(line.contains(r#""parent_span_id":null,"kind":"CLIENT""#), "{line}");
        assert!(line.contains(r#""status":"ERROR","attributes":{"k":2}"#), "{line}");
    }
}
