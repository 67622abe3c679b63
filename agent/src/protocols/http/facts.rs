//! What header fields say of an exchange, and what is told from that: plain HTTP, or a call over it.

use compact_str::CompactString;

use super::{Field, context::Carried};
use crate::{
    model::{
        exchange::{Http, Operation, Rpc},
        headers::{self, VALUE_MAX, VALUES_MAX, Values},
        propagation::Propagation,
        trace_context::{TraceParent, add_trace_state},
    },
    protocols::{
        carried::{self, Kind, Marks, Product},
        grpc::{self, Media},
    },
};

/// Bytes kept of `Host`.
const MAX_HOST: usize = 255;
/// Bytes kept of `User-Agent`.
const MAX_USER_AGENT: usize = 512;

/// What the header fields of a message say that [`Http`] has no room for.
#[derive(Debug, Default)]
pub(crate) struct HeaderFacts {
    /// `Content-Type`.
    pub(crate) media: Option<Media>,
    /// `Grpc-Status`.
    pub(crate) grpc_status: Option<u32>,
    /// There is a field of gRPC.
    pub(crate) grpc_field: bool,
    /// `TE: trailers`.
    pub(crate) te_trailers: bool,
    /// `Connect-Protocol-Version` is there.
    connects: bool,
    /// `Connect-Timeout-Ms` or `Grpc-Timeout`, in ns.
    timeout_ns: Option<u64>,
    carried: Carried,
    /// The context that counts, once that is settled.
    parent: Option<TraceParent>,
    /// Values of fields that the configuration asks for.
    captured: Option<Box<Values>>,
    /// What a request says of what it carries.
    marks: Option<Box<Marks>>,
    /// What a server says that it is.
    product: Option<Product>,
}

impl HeaderFacts {
    /// A request that carries this context.
    pub(crate) fn with_parent(parent: Option<TraceParent>) -> Self {
        Self { parent, ..Self::default() }
    }

    /// Takes a field; what says nothing of these is ignored. `cut`: only the value's beginning is there.
    #[inline]
    pub(crate) fn take(&mut self, field: Field, value: &[u8], cut: bool) {
        match field {
            Field::ContentType if self.media.is_none() => self.media = Some(Media::parse(value)),
            Field::Te => self.te_trailers |= value.eq_ignore_ascii_case(b"trailers"),
            _ if field.is_carrier() => self.carried.take(field, value, cut),
            Field::GrpcStatus => {
                self.grpc_field = true;
                self.grpc_status = grpc::parse_number(value).and_then(|status| u32::try_from(status).ok());
            }
            Field::GrpcTimeout => {
                self.grpc_field = true;
                self.timeout_ns = grpc::parse_timeout(value);
            }
            Field::GrpcOther => self.grpc_field = true,
            Field::ConnectProtocolVersion => self.connects = true,
            Field::ConnectTimeoutMs => self.timeout_ns = grpc::parse_connect_timeout(value),
            Field::Wanted(number) => self.capture(number, value),
            _ => {}
        }
    }

    /// Takes a line of a request of HTTP/1 whose name matters to nobody else.
    #[inline]
    pub(crate) fn take_other(&mut self, line: &[u8]) {
        let is = |at: usize, letter: u8| line.get(at).is_some_and(|byte| byte | 0x20 == letter);
        let may_be = match line.first().map_or(0, |first| first | 0x20) {
            // X-Amz-Target, X-ClickHouse-Database
            b'x' => is(2, b'a') && is(3, b'm') || is(2, b'c') && is(3, b'l'),
            // Authorization, SOAPAction, Content-Encoding
            b'a' => is(1, b'u'),
            b's' => is(1, b'o'),
            b'c' => is(8, b'e') && is(2, b'n'),
            _ => false,
        };
        if may_be {
            Marks::read_line(&mut self.marks, line);
        }
    }

    /// Takes what kind a request's body is, besides what calls ask of it.
    #[inline]
    pub(crate) fn take_kind(&mut self, content_type: &[u8]) {
        let kind = Kind::parse(content_type);
        if kind != Kind::Other {
            Marks::read_type(&mut self.marks, kind, content_type);
        }
    }

    /// Takes such a line of a response.
    #[inline]
    pub(crate) fn take_other_of_answer(&mut self, line: &[u8]) {
        if line.first().is_some_and(|first| first | 0x20 == b'x') {
            self.product = Product::of_line(line, self.product);
        }
    }

    /// Takes a line of HTTP/1 if the configuration asks for its field.
    #[cold]
    pub(crate) fn take_wanted(&mut self, line: &[u8]) {
        if let Some((number, value)) = headers::of_line(line) {
            self.capture(number, value);
        }
    }

    /// Takes a value of a field that the configuration asks for.
    #[cold]
    pub(crate) fn capture(&mut self, number: u8, value: &[u8]) {
        let captured = self.captured.get_or_insert_default();
        if captured.len() < VALUES_MAX {
            captured.push((number, text(value, VALUE_MAX)));
        }
    }

    /// What was captured of a response goes to its request.
    #[inline]
    pub(crate) fn give_captured(&self, http: &mut Http) {
        if let Some(captured) = &self.captured {
            http.headers.get_or_insert_default().response.clone_from(captured);
        }
    }

    /// Takes a line that continues such a field (obs-fold).
    pub(crate) fn continue_carried(&mut self, field: Field, more: &[u8]) {
        self.carried.on_continued(field, more);
    }

    /// All of a request's head was read: settles which context it carries, and moves what is wanted of its baggage to `http`.
    #[inline]
    pub(crate) fn settle(&mut self, http: &mut Http, propagation: &Propagation) {
        self.parent = std::mem::take(&mut self.carried).settle(http, propagation);
        if let Some(captured) = self.captured.take() {
            http.headers.get_or_insert_default().request = *captured;
        }
    }

    /// Takes out what a request of HTTP/1 says of what it carries.
    #[inline]
    pub(crate) fn take_marks(&mut self, http: &Http, propagation: &Propagation) -> Option<Box<Marks>> {
        Marks::settle(self.marks.take(), http, propagation.query_text)
    }

    /// What a response says.
    #[inline]
    pub(crate) const fn answer(&self) -> Answer {
        Answer { media: self.media, grpc_status: self.grpc_status, product: self.product }
    }

    /// The context that a request carries, once that is [settled](Self::settle).
    #[inline]
    pub(crate) const fn parent(&self) -> Option<TraceParent> {
        self.parent
    }

    /// Heap bytes held.
    pub(crate) fn heap(&self) -> usize {
        let captured = self.captured.iter().flat_map(|values| values.iter());
        let marks = self.marks.as_ref().map_or(0, |marks| marks.heap_max());
        marks
            + self.carried.heap()
            + captured.map(|(_, value)| size_of::<(u8, CompactString)>() + value.len()).sum::<usize>()
    }

    /// The call that a request certainly begins. `is_http2`: gRPC itself needs that.
    #[inline]
    pub(crate) fn call(&self, http: &Http, is_http2: bool) -> Option<Call> {
        let gets = || grpc::is_connect_get(http.method.as_deref(), http.target.as_deref());
        match self.media {
            Some(media) if media != Media::Grpc || is_http2 => self.call_of(media),
            _ => None,
        }
        .or_else(|| (self.connects || gets()).then(|| self.as_call(grpc::CONNECT)))
    }

    /// The call that it is where a content type, be it that of the response, is that of one.
    pub(crate) fn call_of(&self, media: Media) -> Option<Call> {
        match media {
            Media::Grpc => Some(self.as_call(grpc::GRPC)),
            Media::GrpcWeb => Some(self.as_call(grpc::GRPC_WEB)),
            Media::ConnectStream => Some(Call { is_stream: true, ..self.as_call(grpc::CONNECT) }),
            Media::Json | Media::Other => None,
        }
    }

    /// The request as a call of a system.
    pub(crate) fn as_call(&self, system: &'static str) -> Call {
        Call { system, is_stream: false, timeout_ns: self.timeout_ns }
    }
}

/// A call over HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// `rpc.system.name`.
    pub(crate) system: &'static str,
    /// Of Connect: its status stands in the last message of its body.
    is_stream: bool,
    timeout_ns: Option<u64>,
}

/// What a response says of a call, besides its HTTP status.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Answer {
    /// What its body is.
    pub(crate) media: Option<Media>,
    /// `Grpc-Status`, in its head or its trailers.
    pub(crate) grpc_status: Option<u32>,
    /// What its server is.
    pub(crate) product: Option<Product>,
}

impl Answer {
    /// What is told of the exchange, and the name of the protocol it was: that of the call, else `plain`.
    #[inline]
    pub(crate) fn tell(
        self,
        http: Box<Http>,
        call: Option<Call>,
        marks: Option<&Marks>,
        plain: &'static str,
    ) -> (&'static str, Operation) {
        let Some(call) = call else {
            return (plain, carried::read(http, marks, self.product).unwrap_or_else(Operation::Http));
        };
        (call.system, carried::of_call(self.rpc(*http, call)))
    }

    fn rpc(self, http: Http, call: Call) -> Rpc {
        let target = http.target.filter(|_| !http.target_truncated);
        let method = target.map(|target| match call.system {
            grpc::GRPC => grpc::grpc_method(&target),
            _ => grpc::web_method(&target),
        });
        Rpc {
            system: call.system,
            version: http.version,
            unknown_name: http.unknown_name.filter(|_| method.is_none()),
            method,
            batch_size: None,
            host: http.host,
            user_agent: http.user_agent,
            trace_state: http.trace_state,
            baggage: http.baggage,
            status: match call.system {
                grpc::CONNECT if call.is_stream => None,
                grpc::CONNECT => http.status.and_then(|status| grpc::connect_unary_status(status, self.media)),
                // That of gRPC-Web stands here only where there is no message: else it is in the body.
                _ => self.grpc_status,
            },
            code: None,
            http_status: http.status.filter(|&status| status != 200),
            timeout_ns: call.timeout_ns,
            exported_kinds: http.exported_kinds,
        }
    }
}

/// Takes a field of a request whose value is told as it is. `cut`: only its beginning is there. `false` if one like it was
/// there before.
#[inline]
pub(crate) fn take_text(http: &mut Http, field: Field, value: &[u8], cut: bool) -> bool {
    match field {
        Field::Host if http.host.is_none() => http.host = Some(text(value, MAX_HOST)),
        Field::UserAgent if http.user_agent.is_none() => http.user_agent = Some(text(value, MAX_USER_AGENT)),
        // A list whose end is missing is left out.
        Field::TraceState if !cut => add_trace_state(&mut http.trace_state, value),
        _ => return false,
    }
    true
}

/// Takes a line that continues such a field (obs-fold).
pub(crate) fn append(http: &mut Http, field: Field, more: &[u8]) {
    let (value, limit) = match field {
        Field::Host => (&mut http.host, MAX_HOST),
        Field::UserAgent => (&mut http.user_agent, MAX_USER_AGENT),
        // A list whose end would be missing.
        Field::TraceState => return http.trace_state = None,
        _ => return,
    };
    // A line fold reads as one blank.
    let value = value.get_or_insert_default();
    let room = limit.saturating_sub(value.len() + 1);
    if !value.is_empty() && room > 0 {
        value.push(' ');
    }
    value.push_str(&text(more, room));
}

/// As much of `bytes` as may be kept; bytes that are no UTF-8 are replaced.
#[inline]
pub(crate) fn text(bytes: &[u8], limit: usize) -> CompactString {
    let bytes = bytes.get(..limit).unwrap_or(bytes);
    str::from_utf8(bytes).map_or_else(|_| CompactString::from_utf8_lossy(bytes), CompactString::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(fields: &[(Field, &[u8])]) -> HeaderFacts {
        let mut facts = HeaderFacts::default();
        fields.iter().for_each(|(field, value)| facts.take(*field, value, false));
        facts
    }

    #[test]
    fn the_same_fields_are_the_same_call_over_either_version() {
        let post = Http { method: Some("POST".into()), target: Some("/p.S/Do".into()), ..Http::default() };
        let system = |fields: &[(Field, &[u8])], is_http2| facts(fields).call(&post, is_http2).map(|call| call.system);
        for (fields, over_1, over_2) in [
            (&[(Field::ContentType, &b"application/grpc"[..])][..], None, Some("grpc")),
            (&[(Field::ContentType, b"application/grpc-web+proto")], Some("grpc_web"), Some("grpc_web")),
            (&[(Field::ContentType, b"application/connect+json")], Some("connectrpc"), Some("connectrpc")),
            (&[(Field::ConnectProtocolVersion, b"1")], Some("connectrpc"), Some("connectrpc")),
            (&[(Field::ContentType, b"application/json")], None, None),
        ] {
            assert_eq!((system(fields, false), system(fields, true)), (over_1, over_2), "{fields:?}");
        }
    }

    #[test]
    fn a_status_is_told_where_a_call_says_it_outside_of_its_body() {
        let status = |fields: &[(Field, &[u8])], answer: Answer, http_status| {
            let http = Http { target: Some("/p.S/Do".into()), status: Some(http_status), ..Http::default() };
            let call = facts(fields).call(&http, true);
            match answer.tell(Box::new(http), call, None, "plain") {
                (system, Operation::Rpc(rpc)) => (system, rpc.status, rpc.method),
                (protocol, _) => (protocol, None, None),
            }
        };
        let method = || Some("p.S/Do".into());
        let ended = Answer { grpc_status: Some(5), ..Answer::default() };
        assert_eq!(status(&[(Field::ContentType, b"application/grpc")], ended, 200), ("grpc", Some(5), method()));
        let streams = [(Field::ContentType, &b"application/connect+proto"[..])];
        assert_eq!(status(&streams, Answer::default(), 200), ("connectrpc", None, method()));
        let unary = [(Field::ConnectProtocolVersion, &b"1"[..])];
        assert_eq!(status(&unary, Answer::default(), 200), ("connectrpc", Some(0), method()));
        assert_eq!(status(&[], Answer::default(), 200), ("plain", None, None));
    }
}
