//! HTTP exchanges as spans and metric attributes.

use std::sync::Arc;

use compact_str::CompactString;

use super::{
    attributes::Attributes,
    conventions::{Conventions, Described, Policy, kind, push_end},
    endpoint::{self, Remote, Server},
    methods::Method,
    outcome::{self, Error},
    red::{Label, Labels},
    redact::{self, REDACTED_USER_INFO, Redactor},
    semconv,
    target::{Form, Target},
};
use crate::model::{
    exchange::{Group, Http, Outcome},
    headers::{self, Headers},
    net::{ConnectionInfo, Role},
    span::{Status, Value},
};

/// What both the span and the metrics need to know of an exchange.
#[derive(Clone)]
pub(super) struct Facts {
    http: Box<Http>,
    route: Option<Arc<str>>,
    role: Role,
    outcome: Outcome,
    target: Target,
    method: Method,
    scheme: &'static str,
    server: Server,
    /// What the server calls its client.
    client: Option<CompactString>,
    /// The client behind a proxy.
    proxied: Option<std::net::SocketAddr>,
    status: Status,
    error: Option<Error>,
}

impl Facts {
    pub(super) fn of(
        http: Box<Http>,
        role: Role,
        outcome: Outcome,
        connection: &ConnectionInfo,
        policy: &Policy,
        remote: Remote<'_>,
    ) -> Self {
        let target = Target::of(&http);
        let text = http.target.as_deref().unwrap_or_default();
        let authority = target.authority(text).or(http.host.as_deref());
        let scheme = if connection.tls {
            "https"
        } else {
            target.scheme(text).or(http.scheme.as_deref()).and_then(known_scheme).unwrap_or("http")
        };
        let failed = http.status.filter(|status| match role {
            Role::Server => *status >= 500,
            Role::Client => *status >= 400,
        });
        let (status, error) = outcome::evaluate(outcome, role, failed.map(|status| Error::Digits(status.into())));
        let mut server = Server::of(authority, role, connection);
        if target.form == Form::Absolute && target.authority(text).is_some() {
            // The URL says it all: the connection may be one to a proxy.
            let by_scheme = || target.scheme(text).and_then(known_scheme).map(default_port);
            server.port = authority.and_then(endpoint::split_authority).and_then(|(_, port)| port.or_else(by_scheme));
        }
        let server = server.named(remote, role, connection);
        Self {
            role,
            outcome,
            target,
            method: policy.methods.find(http.method.as_deref()),
            scheme,
            server,
            client: remote.name.filter(|_| role == Role::Server).cloned(),
            proxied: remote.client,
            status,
            error,
            route: None,
            http,
        }
    }

    /// `url.path` and `url.query`.
    fn push_url(&self, target: Option<CompactString>, redactor: &Redactor, out: &mut Attributes) {
        let Some(text) = target else { return };
        if self.target.form == Form::Authority {
            return;
        }
        let query = self.target.query(&text).map(|query| CompactString::from(redactor.query(query)));
        let path = redactor.path(self.target.path(&text));
        let path = if path.len() == text.len() && matches!(path, std::borrow::Cow::Borrowed(_)) {
            text
        } else {
            CompactString::from(path)
        };
        out.push(semconv::URL_PATH, Value::Str(path));
        out.push_str(semconv::URL_QUERY, query.filter(|query| !query.is_empty()));
    }

    /// `url.full`; where the server has no name at all, what there is of `url.path` and `url.query`.
    fn push_full_url(&self, target: Option<CompactString>, redactor: &Redactor, out: &mut Attributes) {
        let Some(text) = target else { return };
        if self.target.form == Form::Authority {
            // CONNECT names a host and port, which `server.*` has, and no resource.
            return;
        }
        if self.server.address.is_empty() {
            return self.push_url(Some(text), redactor, out);
        }
        let mut url = CompactString::with_capacity(text.len() + self.server.address.len() + "https://:65535".len());
        url.push_str(self.scheme);
        url.push_str("://");
        if self.target.authority(&text).is_some_and(|authority| authority.contains('@')) {
            url.push_str(REDACTED_USER_INFO);
            url.push('@');
        }
        let is_ipv6 = self.server.address.contains(':');
        url.push_str(if is_ipv6 { "[" } else { "" });
        url.push_str(&self.server.address);
        url.push_str(if is_ipv6 { "]" } else { "" });
        if let Some(port) = self.server.port.filter(|port| *port != default_port(self.scheme)) {
            url.push(':');
            url.push_str(&outcome::decimal(port.into()));
        }
        if self.target.form != Form::Asterisk {
            url.push_str(&redactor.path(self.target.path(&text)));
        }
        if let Some(query) = self.target.query(&text) {
            url.push('?');
            url.push_str(&redactor.query(query));
        }
        out.push(semconv::URL_FULL, Value::Str(url));
    }
}
impl Conventions for Facts {
    const GROUP: Group = Group::Http;

    fn path(&self) -> Option<&str> {
        let has_path = matches!(self.target.form, Form::Origin | Form::Absolute);
        let whole = |text: &&str| has_path && self.target.path_is_whole(text, self.http.target_truncated);
        self.http.target.as_deref().filter(whole).map(|text| self.target.path(text))
    }

    fn http_status(&self) -> Option<u16> {
        self.http.status
    }

    fn set_route(&mut self, route: Arc<str>) {
        self.route = Some(route);
    }

    fn body_sizes(&self) -> [Option<u64>; 2] {
        [self.http.request_body_bytes, self.http.response_body_bytes]
    }

    fn role(&self) -> Role {
        self.role
    }

    fn status(&self) -> Status {
        self.status
    }

    fn server(&self) -> &Server {
        &self.server
    }

    /// `{method} {route}`; the method is `HTTP` where it is not a known one.
    fn name(&self, policy: &Policy) -> CompactString {
        let method = match self.method {
            Method::Known(_) => policy.methods.name(self.method).unwrap_or("HTTP"),
            Method::Other | Method::Unknown => "HTTP",
        };
        let Some(route) = self.route.as_deref() else { return CompactString::new(method) };
        let mut name = CompactString::with_capacity(method.len() + 1 + route.len());
        name.push_str(method);
        name.push(' ');
        name.push_str(route);
        name
    }

    fn labels<'a>(&'a self, policy: &'a Policy) -> Labels<'a> {
        let http = &self.http;
        let [address, port] = self.server.labels_of_client(self.role);
        let route = self.route.as_deref().filter(|_| self.role == Role::Server);
        [
            policy.methods.name(self.method).map(|name| (semconv::HTTP_REQUEST_METHOD, Label::Str(name))),
            http.status.map(|status| (semconv::HTTP_RESPONSE_STATUS_CODE, Label::Int(status.into()))),
            route.map(|route| (semconv::HTTP_ROUTE, Label::Str(route))),
            Some((semconv::URL_SCHEME, Label::Str(self.scheme))),
            (!http.version.is_empty()).then_some((semconv::NETWORK_PROTOCOL_VERSION, Label::Str(http.version))),
            address,
            port,
            self.error.map(|error| (semconv::ERROR_TYPE, error.to_label())),
            None,
        ]
    }

    fn describe(mut self, connection: &ConnectionInfo, policy: &Policy, mut out: Attributes) -> Described {
        let (method, target, user_agent) =
            (self.http.method.take(), self.http.target.take(), self.http.user_agent.take());
        let headers = self.http.headers.take();
        let name = self.name(policy);
        let route = self.route.take();
        let redactor = &policy.redactor;
        if let Some(value) = policy.methods.value(self.method) {
            out.push(semconv::HTTP_REQUEST_METHOD, value);
        }
        // What would say it stands in a table since before our time, or in bytes that were lost.
        let why_unknown = self.http.unknown_name.is_some() || self.http.headers_truncated;
        let name_unknown = why_unknown && (method.is_none() || target.is_none());
        if self.method == Method::Other {
            out.push_str(semconv::HTTP_REQUEST_METHOD_ORIGINAL, method);
        }
        out.push_int(semconv::HTTP_RESPONSE_STATUS_CODE, self.http.status);
        let target_truncated = self.http.target_truncated && target.is_some();
        match self.role {
            Role::Server => {
                self.push_url(target, redactor, &mut out);
                out.push(semconv::URL_SCHEME, Value::Static(self.scheme));
            }
            Role::Client => self.push_full_url(target, redactor, &mut out),
        }
        let (http, server) = (&self.http, std::mem::take(&mut self.server));
        server.push(&mut out);
        let peer = endpoint::address(&connection.remote);
        if self.role == Role::Server {
            endpoint::push_client(connection, self.proxied, self.client.take().or_else(|| peer.clone()), &mut out);
        }
        endpoint::push_network(connection, peer, http.version, &mut out);
        if let Some(route) = route {
            let key = if self.role == Role::Server { semconv::HTTP_ROUTE } else { semconv::URL_TEMPLATE };
            out.push(key, Value::Shared(route));
        }
        out.push_str(semconv::USER_AGENT_ORIGINAL, user_agent.map(|agent| redactor.owned(without_user_info(agent))));
        out.push_count(semconv::HTTP_REQUEST_BODY_SIZE, http.request_body_bytes);
        out.push_count(semconv::HTTP_RESPONSE_BODY_SIZE, http.response_body_bytes);
        if let Some(captured) = headers {
            let Headers { request, response } = *captured;
            for (values, is_response) in [(request, false), (response, true)] {
                headers::attributes(values, is_response, |key, values| {
                    let values = values.into_iter().map(|value| redactor.field(without_user_info(value)));
                    out.push(key, Value::List(values.collect()));
                });
            }
        }
        if let Some(graphql) = http.graphql.as_deref() {
            out.push_str(semconv::GRAPHQL_OPERATION_NAME, graphql.name.clone());
            if let Some(kind) = graphql.kind {
                out.push(semconv::GRAPHQL_OPERATION_TYPE, Value::Static(kind));
            }
            out.push_int(semconv::BEYLA_BATCH_SIZE, graphql.batch_size);
        }
        push_end(self.error.map(Error::to_value), self.outcome, &mut out);
        out.push_flag(semconv::BEYLA_NAME_UNKNOWN, name_unknown);
        out.push_count(semconv::BEYLA_NAME_UNKNOWN_ENTRY, http.unknown_name.filter(|_| name_unknown));
        out.push_flag(semconv::BEYLA_TARGET_TRUNCATED, target_truncated);
        out.push_flag(semconv::BEYLA_HEADERS_TRUNCATED, http.headers_truncated);
        Described { name, kind: kind(self.role), status: self.status, attributes: out }
    }
}

/// What is told of a request that carries something else: its method, the address without the query, in which values may stand,
/// and the status.
pub(super) fn push_carrier(
    mut http: Box<Http>,
    role: Role,
    connection: &ConnectionInfo,
    policy: &Policy,
    out: &mut Attributes,
) {
    if let Some(target) = &mut http.target
        && let Some(at) = memchr::memchr(b'?', target.as_bytes())
    {
        target.truncate(at);
    }
    let mut facts = Facts::of(http, role, Outcome::Complete, connection, policy, Remote::default());
    let target = facts.http.target.take();
    if let Some(value) = policy.methods.value(facts.method) {
        out.push(semconv::HTTP_REQUEST_METHOD, value);
    }
    match role {
        Role::Server => facts.push_url(target, &policy.redactor, out),
        Role::Client => facts.push_full_url(target, &policy.redactor, out),
    }
    out.push_int(semconv::HTTP_RESPONSE_STATUS_CODE, facts.http.status);
}

/// Text that is free to hold URLs.
pub(super) fn without_user_info(text: CompactString) -> CompactString {
    match redact::user_info(&text) {
        std::borrow::Cow::Borrowed(_) => text,
        std::borrow::Cow::Owned(text) => text.into(),
    }
}

/// Others would be whatever a peer likes to write into a metric's attributes.
fn known_scheme(scheme: &str) -> Option<&'static str> {
    ["http", "https", "ws", "wss"].into_iter().find(|known| known.eq_ignore_ascii_case(scheme))
}

fn default_port(scheme: &str) -> u16 {
    if matches!(scheme, "https" | "wss") { 443 } else { 80 }
}
