//! What a body over OTLP/HTTP says of the spans in it, as far as it was captured: their kinds. Nothing else of it is read.

use std::io::Read as _;

use flate2::read::GzDecoder;
use memchr::memmem;

use crate::{
    model::exchange::{ExportedKinds, Http},
    protocols::protobuf::{Fields, Value},
};

/// Where spans are exported to, by default and behind a collector's own path.
const TRACES_PATH: &str = "/v1/traces";
/// Most bytes that are unpacked.
const UNPACKED_MAX: u64 = 64 << 10;

/// `ExportTraceServiceRequest.resource_spans`, `ResourceSpans.scope_spans`, `ScopeSpans.spans`.
const SPANS: [u64; 3] = [1, 2, 2];
/// `Span.kind`.
const KIND: u64 = 6;

/// Whether spans are exported by a request.
#[must_use]
pub(crate) fn exports_spans(http: &Http) -> bool {
    http.method.as_deref() == Some("POST") && http.target.as_deref().is_some_and(|target| target.ends_with(TRACES_PATH))
}

/// The kinds of the spans in the beginning of a body, a bit for each.
#[must_use]
pub(crate) fn kinds_of(body: &[u8]) -> ExportedKinds {
    let mut kinds = ExportedKinds::default();
    match body {
        [0x1f, 0x8b, ..] => {
            let mut unpacked = Vec::new();
            // What was captured may end before the stream does.
            let _cut = GzDecoder::new(body).take(UNPACKED_MAX).read_to_end(&mut unpacked);
            if !unpacked.starts_with(&[0x1f, 0x8b]) {
                kinds = kinds_of(&unpacked);
            }
        }
        [b'{', ..] => in_json(body, &mut kinds),
        _ => in_message(body, &SPANS, &mut kinds),
    }
    kinds
}

fn in_json(body: &[u8], kinds: &mut ExportedKinds) {
    const NAME: &[u8] = b"\"kind\":";
    for at in memmem::find_iter(body, NAME) {
        let value = body.get(at + NAME.len()..).unwrap_or_default().trim_ascii_start();
        match value {
            [digit @ b'1'..=b'5', ..] => kinds.add((digit - b'0').into()),
            _ if value.starts_with(b"\"SPAN_KIND_SERVER\"") => kinds.add(ExportedKinds::SERVER),
            _ if value.starts_with(b"\"SPAN_KIND_CLIENT\"") => kinds.add(ExportedKinds::CLIENT),
            _ => {}
        }
    }
}

fn in_message(message: &[u8], path: &[u64], kinds: &mut ExportedKinds) {
    for (field, value) in Fields(message) {
        match (value, path.split_first()) {
            (Value::Number(value), None) if field == KIND => kinds.add(value),
            (Value::Bytes(part), Some((due, below))) if *due == field => in_message(part, below, kinds),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn export(kinds: &[i32]) -> Vec<u8> {
        let span = |&kind: &i32| Span { trace_id: vec![1; 16], name: "GET /items".repeat(9), kind, ..Span::default() };
        let scope_spans = vec![ScopeSpans { spans: kinds.iter().map(span).collect(), ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }; 2];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn kinds(kinds: &[u64]) -> ExportedKinds {
        let mut all = ExportedKinds::default();
        kinds.iter().for_each(|kind| all.add(*kind));
        all
    }

    #[test]
    fn kinds_are_read_as_far_as_a_body_goes() {
        assert_eq!(kinds_of(&export(&[3, 2])), kinds(&[2, 3]));
        assert_eq!(kinds_of(&export(&[3, 3])), kinds(&[3]));
        assert!(kinds_of(&export(&[])).is_empty());
        let body = export(&[3, 2]);
        let until = |known: &[u64]| (0..body.len()).find(|&end| kinds_of(&body[..end]) == kinds(known)).unwrap();
        assert!(until(&[3]) < until(&[3, 2]) && until(&[3, 2]) <= body.len() / 2);
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(&export(&[1, 2])).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(kinds_of(&packed), kinds(&[1, 2]));
        assert_eq!(kinds_of(&packed[..packed.len() - 4]), kinds(&[1, 2]));
        for (json, expected) in [
            (r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":2},{"kind": 3}"#, &[2, 3][..]),
            (r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"kind":"SPAN_KIND_SERVER","name":"x"#, &[2]),
            (r#"{"resourceLogs":[]}"#, &[]),
        ] {
            assert_eq!(kinds_of(json.as_bytes()), kinds(expected), "{json}");
        }
    }

    #[test]
    fn only_spans_are_exported_to_their_path() {
        let http = |method: &str, target: &str| Http {
            method: Some(method.into()),
            target: Some(target.into()),
            ..Http::default()
        };
        assert!(exports_spans(&http("POST", "/v1/traces")) && exports_spans(&http("POST", "/otlp/v1/traces")));
        assert!(!exports_spans(&http("GET", "/v1/traces")) && !exports_spans(&http("POST", "/v1/metrics")));
    }

    proptest! {
        #[test]
        fn whatever_a_body_holds_there_is_an_end(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _kinds = kinds_of(&body);
        }
    }
}
