//! What a body over OTLP says of the spans in it, as far as it was captured: their kinds. Nothing else of it is told.

use std::io::Read as _;

use flate2::read::GzDecoder;
use memchr::memmem;

use crate::{
    model::exchange::{ExportedKinds, Http},
    protocols::protobuf::{Fields, Value},
};

/// Where spans are exported to, by default and behind a collector's own path.
const TRACES_PATH: &str = "/v1/traces";
/// The call by which they are over gRPC.
const TRACES_CALL: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/// Most bytes of a message that are kept.
const KEPT_MAX: usize = 8 << 10;
/// Before a message of gRPC: whether it is compressed, and how long it is.
const PREFIX: usize = 5;
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
            let unpacked = unpacked(body);
            if !unpacked.starts_with(&[0x1f, 0x8b]) {
                kinds = kinds_of(&unpacked);
            }
        }
        [b'{', ..] => in_json(body, &mut kinds),
        _ => each_span(body, &SPANS, &mut |span| kind_of(span, &mut kinds)),
    }
    kinds
}

fn unpacked(body: &[u8]) -> Vec<u8> {
    let mut unpacked = Vec::new();
    // What was captured may end before the stream does.
    let _cut = GzDecoder::new(body).take(UNPACKED_MAX).read_to_end(&mut unpacked);
    unpacked
}

/// What was captured of a call's message, from its beginning on: of one that exports spans, or may.
#[derive(Debug, Default)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    is_over: bool,
    /// Only its content can tell that it exports spans.
    is_unnamed: bool,
}

impl Message {
    /// Bytes that it takes at most.
    pub(crate) const BYTES_MAX: usize = size_of::<Self>() + KEPT_MAX;

    /// That of a call to there, as its client sends it; `None` where it is certainly none that exports spans.
    #[must_use]
    pub(crate) fn of(method: Option<&str>, path: Option<&str>) -> Option<Self> {
        let is_unnamed = path.is_none();
        let may_be = method.is_none_or(|method| method == "POST") && path.is_none_or(|path| path == TRACES_CALL);
        may_be.then(|| Self { is_unnamed, ..Self::default() })
    }

    /// Only its content can tell that it exports spans.
    #[must_use]
    pub(crate) const fn is_unnamed(&self) -> bool {
        self.is_unnamed
    }

    /// Takes the next bytes of it.
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        if !self.is_over {
            if self.bytes.capacity() == 0 {
                self.bytes.reserve_exact(KEPT_MAX);
            }
            let room = KEPT_MAX.saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    /// Bytes of it are missing from here on.
    pub(crate) const fn cut(&mut self) {
        self.is_over = true;
    }

    /// Whether some of it was captured.
    #[must_use]
    pub(crate) const fn is_there(&self) -> bool {
        self.bytes.len() > PREFIX
    }

    /// The kinds of the spans that it exports. None of what is compressed by something else than gzip.
    #[must_use]
    pub(crate) fn kinds(&self) -> ExportedKinds {
        let packed: Vec<u8>;
        let body = match self.bytes.split_first_chunk::<PREFIX>() {
            Some(([0, ..], body)) => body,
            Some(([1, ..], body)) if body.starts_with(&[0x1f, 0x8b]) => {
                packed = unpacked(body);
                &packed
            }
            _ => &[],
        };
        let mut kinds = ExportedKinds::default();
        each_span(body, &SPANS, &mut |span| {
            if !self.is_unnamed || is_span(span) {
                kind_of(span, &mut kinds);
            }
        });
        kinds
    }
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

/// Calls `each` with the messages that lie in another by that path.
fn each_span(message: &[u8], path: &[u64], each: &mut dyn FnMut(&[u8])) {
    let Some((due, below)) = path.split_first() else { return each(message) };
    Fields(message).all(*due).for_each(|part| each_span(part, below, each));
}

fn kind_of(span: &[u8], kinds: &mut ExportedKinds) {
    for (field, value) in Fields(span) {
        if let (KIND, Value::Number(kind)) = (field, value) {
            kinds.add(kind);
        }
    }
}

/// Whether it has what each span has, and nothing else has there: ids of their lengths, a name, a kind, and when it began and ended.
fn is_span(span: &[u8]) -> bool {
    const AT_LEAST_NS: u64 = 1_000_000_000_000_000_000;
    let (mut ids, mut has_name, mut has_kind, mut times) = ((false, false), false, false, (0, 0));
    for (field, value) in Fields(span) {
        match (field, value) {
            (1, Value::Bytes(id)) => ids.0 = id.len() == 16,
            (2, Value::Bytes(id)) => ids.1 = id.len() == 8,
            (5, Value::Bytes(name)) => has_name = str::from_utf8(name).is_ok(),
            (KIND, Value::Number(kind)) => has_kind = (1..=5).contains(&kind),
            (7, Value::Fixed(at)) => times.0 = at.try_into().map_or(0, u64::from_le_bytes),
            (8, Value::Fixed(at)) => times.1 = at.try_into().map_or(0, u64::from_le_bytes),
            _ => {}
        }
    }
    ids == (true, true) && has_name && has_kind && times.0 >= AT_LEAST_NS && times.0 <= times.1
}

#[cfg(test)]
pub(crate) mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use opentelemetry_proto::tonic::{
        collector::trace::v1::ExportTraceServiceRequest,
        trace::v1::{ResourceSpans, ScopeSpans, Span},
    };
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    pub(crate) fn export(kinds: &[i32]) -> Vec<u8> {
        let span = |&kind: &i32| Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "GET /items".repeat(9),
            kind,
            start_time_unix_nano: 1_700_000_000_000_000_000,
            end_time_unix_nano: 1_700_000_000_000_000_001,
            ..Span::default()
        };
        let scope_spans = vec![ScopeSpans { spans: kinds.iter().map(span).collect(), ..ScopeSpans::default() }];
        let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }; 2];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn packed(body: &[u8]) -> Vec<u8> {
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(body).unwrap();
        packed.finish().unwrap()
    }

    /// As gRPC sends it.
    pub(crate) fn message(is_packed: u8, body: &[u8]) -> Vec<u8> {
        [&[is_packed][..], &(body.len() as u32).to_be_bytes(), body].concat()
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
        let packed = packed(&export(&[1, 2]));
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

    #[test]
    fn a_message_of_grpc_is_read_as_far_as_it_came_in_a_row() {
        let of = |path, parts: &[&[u8]]| {
            let mut message = Message::of(Some("POST"), path).unwrap();
            parts.iter().for_each(|part| if part.is_empty() { message.cut() } else { message.take(part) });
            message.kinds()
        };
        let body = export(&[3, 2]);
        let (sent, named) = (message(0, &body), Some(TRACES_CALL));
        assert_eq!(of(named, &[&sent]), kinds(&[2, 3]));
        for at in 1..sent.len() {
            assert_eq!(of(named, &[&sent[..at], &sent[at..]]), kinds(&[2, 3]), "{at}");
            assert_eq!(
                of(named, &[&sent[..at], b"", &sent[at..]]),
                of(named, &[&sent[..at]]),
                "what is missing ends it"
            );
        }
        assert_eq!(of(named, &[&sent[..body.len() / 4], b""]), kinds(&[3]));
        assert_eq!(of(named, &[&message(1, &packed(&body))]), kinds(&[2, 3]));
        for unread in [&message(1, &body)[..], &message(2, &body), &sent[..5], b""] {
            assert!(of(named, &[unread]).is_empty(), "{unread:?}");
        }
        assert!(Message::of(Some("GET"), named).is_none() && Message::of(Some("POST"), Some("/p.S/Export")).is_none());
        let long = message(0, &export(&[2; 1000]));
        let mut kept = Message::of(None, named).unwrap();
        long.chunks(100).for_each(|part| kept.take(part));
        assert_eq!((kept.kinds(), kept.bytes.len()), (kinds(&[2]), KEPT_MAX));
    }

    #[test]
    fn of_a_call_without_a_name_only_what_is_a_span_for_certain_counts() {
        let of = |body: &[u8]| {
            let mut unnamed = Message::of(None, None).unwrap();
            unnamed.take(&message(0, body));
            unnamed.kinds()
        };
        assert_eq!(of(&export(&[2])), kinds(&[2]));
        let body = export(&[2]);
        let found = |end: &usize| !of(&body[..*end]).is_empty();
        let whole = (0..body.len()).find(found).unwrap();
        let name = body.windows(10).position(|part| part == b"GET /items").unwrap();
        assert!(whole > name + 90 + 18, "not before its end: {whole}");
        let change = |change: fn(&mut Span)| {
            let mut request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
            request.resource_spans.iter_mut().for_each(|all| change(&mut all.scope_spans[0].spans[0]));
            of(&request.encode_to_vec()).is_empty()
        };
        assert!(!change(|_| {}));
        for is_none in [
            change(|span| span.trace_id = vec![1; 15]),
            change(|span| span.span_id = vec![1; 9]),
            change(|span| span.kind = 6),
            change(|span| span.start_time_unix_nano = 7),
            change(|span| span.end_time_unix_nano = 1),
        ] {
            assert!(is_none);
        }
    }

    proptest! {
        #[test]
        fn whatever_a_body_holds_there_is_an_end(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _kinds = kinds_of(&body);
            for path in [None, Some(TRACES_CALL)] {
                let mut message = Message::of(None, path).unwrap();
                message.take(&body);
                let _kinds = message.kinds();
            }
        }
    }
}
