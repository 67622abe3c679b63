//! What heads and bodies say of what is carried over HTTP.

use compact_str::CompactString;

use super::{is_name, is_word, name};
use crate::{
    model::{exchange::Http, propagation::QueryText},
    protocols::grpc::parse_number,
};

/// Most bytes of a body that are kept until its exchange is over.
const BODY_MAX: usize = 2048;

/// What a server is, as a field of its response says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocols) enum Product {
    Elasticsearch,
    OpenSearch,
    /// With the code of an error.
    ClickHouse {
        code: Option<u32>,
    },
}

impl Product {
    /// Reads a line of a response's head; `known`: what lines before it said.
    #[cold]
    pub(in crate::protocols) fn of_line(line: &[u8], known: Option<Self>) -> Option<Self> {
        if value_of(line, b"x-elastic-product").is_some_and(|value| value.eq_ignore_ascii_case(b"elasticsearch")) {
            return Some(Self::Elasticsearch);
        }
        if value_of(line, b"x-opensearch-version").is_some() {
            return Some(Self::OpenSearch);
        }
        if !line.get(..13).is_some_and(|name| name.eq_ignore_ascii_case(b"x-clickhouse-")) {
            return known;
        }
        let before = if let Some(Self::ClickHouse { code }) = known { code } else { None };
        let code = value_of(line, b"x-clickhouse-exception-code").and_then(parse_number);
        Some(Self::ClickHouse { code: code.and_then(|code| u32::try_from(code).ok()).or(before) })
    }
}

/// What a request's body is, as its `Content-Type` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::protocols) enum Kind {
    /// Nothing that is read.
    #[default]
    Other,
    Json,
    /// `application/x-amz-json-1.0`, `-1.1`.
    AmzJson,
    Form,
    /// `application/graphql`: a document.
    GraphQl,
    /// `text/xml`.
    Xml,
    /// `application/soap+xml`.
    Soap,
}

impl Kind {
    /// Reads a `Content-Type`.
    #[must_use]
    pub(in crate::protocols) fn parse(content_type: &[u8]) -> Self {
        let essence = content_type.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
        const KINDS: &[(&[u8], Kind)] = &[
            (b"application/json", Kind::Json),
            (b"application/json-rpc", Kind::Json),
            (b"application/jsonrequest", Kind::Json),
            (b"application/x-amz-json-1.0", Kind::AmzJson),
            (b"application/x-amz-json-1.1", Kind::AmzJson),
            (b"application/x-www-form-urlencoded", Kind::Form),
            (b"application/graphql", Kind::GraphQl),
            (b"application/soap+xml", Kind::Soap),
            (b"text/xml", Kind::Xml),
        ];
        KINDS.iter().find(|(name, _)| essence.eq_ignore_ascii_case(name)).map_or(Self::Other, |(_, kind)| *kind)
    }
}

/// The beginning of a body.
#[derive(Debug, Default)]
pub(in crate::protocols) struct Body {
    bytes: Vec<u8>,
    /// Behind these there is more, or may be.
    is_cut: bool,
    /// They are chunks of it.
    is_chunked: bool,
}

impl Body {
    fn add(&mut self, more: &[u8]) {
        if self.is_cut {
            return;
        }
        let room = BODY_MAX.saturating_sub(self.bytes.len());
        self.is_cut = more.len() > room;
        self.bytes.extend_from_slice(more.get(..room).unwrap_or(more));
    }

    /// Takes out what says how long chunks are.
    fn unchunk(&mut self) {
        if !std::mem::take(&mut self.is_chunked) {
            return;
        }
        let (mut rest, mut plain) = (&*self.bytes, Vec::with_capacity(self.bytes.len()));
        loop {
            let line = memchr::memchr(b'\n', rest).and_then(|end| rest.split_at_checked(end + 1));
            let Some((line, behind)) = line else { break };
            let digits = line.split(|byte| matches!(byte, b';' | b'\r' | b'\n' | b' ')).next().unwrap_or_default();
            let len = str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let Some(len) = len.filter(|len| *len > 0) else { break };
            let (data, behind) = behind.split_at_checked(len).unwrap_or((behind, &[]));
            plain.extend_from_slice(data);
            rest = behind.strip_prefix(b"\r\n").unwrap_or_default();
        }
        self.bytes = plain;
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(super) const fn is_cut(&self) -> bool {
        self.is_cut
    }
}

/// What a request says of what it is, beyond HTTP.
#[derive(Debug, Default)]
pub(in crate::protocols) struct Marks {
    /// `X-Amz-Target`.
    pub(super) target: Option<CompactString>,
    /// The service that an AWS signature is for.
    pub(super) service: Option<CompactString>,
    /// `SOAPAction`, or that of its content type.
    pub(super) action: Option<CompactString>,
    /// `X-ClickHouse-Database`.
    pub(super) database: Option<CompactString>,
    pub(super) kind: Kind,
    /// The body is compressed.
    pub(super) is_encoded: bool,
    /// What is told of statements.
    pub(super) told: QueryText,
    pub(super) body: Body,
    pub(super) answer: Body,
    /// What is to be kept of the bodies.
    wants: [bool; 2],
}

impl Marks {
    /// Reads a line of a request's head that nothing else reads.
    #[cold]
    pub(in crate::protocols) fn read_line(marks: &mut Option<Box<Self>>, line: &[u8]) {
        if let Some(value) = value_of(line, b"x-amz-target") {
            let target = name(value).filter(|target| target.contains('.'));
            marks.get_or_insert_default().target = target;
        } else if let Some(value) = value_of(line, b"authorization") {
            // Of credentials nothing is kept but whom they are shown to.
            if let Some(service) = signed_for(value) {
                marks.get_or_insert_default().service = Some(service);
            }
        } else if let Some(value) = value_of(line, b"soapaction") {
            let action = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")).unwrap_or(value);
            marks.get_or_insert_default().action = text_of_action(action);
        } else if let Some(value) = value_of(line, b"x-clickhouse-database") {
            marks.get_or_insert_default().database = name(value);
        } else if value_of(line, b"content-encoding").is_some_and(|it| !it.eq_ignore_ascii_case(b"identity")) {
            marks.get_or_insert_default().is_encoded = true;
        }
    }

    /// Reads a `Content-Type`.
    #[cold]
    pub(in crate::protocols) fn read_type(marks: &mut Option<Box<Self>>, kind: Kind, content_type: &[u8]) {
        let marks = marks.get_or_insert_default();
        marks.kind = kind;
        if kind == Kind::Soap {
            let action = content_type.split(|&byte| byte == b';').skip(1).find_map(|parameter| {
                let (key, value) = parameter.split_at_checked(memchr::memchr(b'=', parameter)?)?;
                let value = value.get(1..)?.trim_ascii();
                let value = value.strip_prefix(b"\"").and_then(|it| it.strip_suffix(b"\"")).unwrap_or(value);
                key.trim_ascii().eq_ignore_ascii_case(b"action").then_some(value)
            });
            marks.action = action.and_then(text_of_action);
        }
    }

    /// All of the head was read.
    pub(in crate::protocols) fn settle(marks: Option<Box<Self>>, http: &Http, told: QueryText) -> Option<Box<Self>> {
        let target = http.target.as_deref().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let may_ask = matches!(path, "/" | "/query") && http.method.as_deref() != Some("HEAD");
        if marks.is_none() && !(query.contains("query=") || may_ask && http.method.as_deref() == Some("POST")) {
            return None;
        }
        let mut marks = marks.unwrap_or_default();
        marks.told = told;
        let has_body = !matches!(http.method.as_deref(), Some("GET" | "HEAD") | None) && !marks.is_encoded;
        let is_read = matches!(marks.kind, Kind::Json | Kind::AmzJson | Kind::Form | Kind::GraphQl);
        // Where the head says what is asked for, the message need not.
        let is_read = is_read || matches!(marks.kind, Kind::Xml | Kind::Soap) && marks.action.is_none();
        let is_json = matches!(marks.kind, Kind::Json | Kind::AmzJson);
        marks.wants = [has_body && (is_read || may_ask), has_body && is_json];
        Some(marks)
    }

    /// A body begins.
    pub(in crate::protocols) const fn begin(&mut self, is_answer: bool, is_chunked: bool) {
        let body = if is_answer { &mut self.answer } else { &mut self.body };
        body.is_chunked = is_chunked;
    }

    /// Both are over.
    pub(in crate::protocols) fn end(&mut self) {
        self.body.unchunk();
        self.answer.unchunk();
    }

    /// Takes bytes of the request's body, or of the response's.
    pub(in crate::protocols) fn take(&mut self, is_answer: bool, bytes: &[u8]) {
        let body = if is_answer { &mut self.answer } else { &mut self.body };
        if self.wants[usize::from(is_answer)] {
            body.add(bytes);
        }
    }

    /// Bytes of a body were not seen.
    pub(in crate::protocols) const fn cut(&mut self, is_answer: bool) {
        if is_answer {
            self.answer.is_cut = true;
        } else {
            self.body.is_cut = true;
        }
    }

    /// Heap bytes held at most.
    pub(in crate::protocols) const fn heap_max(&self) -> usize {
        let bodies = self.wants[0] as usize + self.wants[1] as usize;
        size_of::<Self>() + 4 * super::MAX_NAME + bodies * BODY_MAX
    }
}

/// The value of a line of HTTP/1, if it has that name (lower case).
fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    match line.split_at_checked(name.len())? {
        (found, [b':', value @ ..]) if found.eq_ignore_ascii_case(name) => Some(value.trim_ascii()),
        _ => None,
    }
}

/// The service that a signature of AWS (version 4) is for: `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/SERVICE/aws4_request, …`.
fn signed_for(authorization: &[u8]) -> Option<CompactString> {
    let scope = authorization.strip_prefix(b"AWS4-HMAC-SHA256 ").or_else(|| {
        // Signatures for several regions name none.
        authorization.strip_prefix(b"AWS4-ECDSA-P256-SHA256 ")
    })?;
    let scope = scope.trim_ascii_start().strip_prefix(b"Credential=")?;
    let scope = scope.split(|byte| matches!(byte, b',' | b' ')).next()?;
    let mut parts = scope.rsplit(|&byte| byte == b'/');
    let is_scope = parts.next()? == b"aws4_request";
    let service = parts.next()?;
    let is_service = is_word(service) || service.iter().all(|byte| byte.is_ascii_lowercase() || *byte == b'-');
    name(service).filter(|_| is_scope && is_service)
}

/// What stands behind the last `/`, `#` or `:` of an action.
pub(super) fn text_of_action(action: &[u8]) -> Option<CompactString> {
    let last = action.rsplit(|byte| matches!(byte, b'/' | b'#' | b':')).next()?;
    name(last).filter(|_| is_name(last))
}
