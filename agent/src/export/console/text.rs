//! A span as a line for people: `12:00:01.234567 SERVER HTTP  GET /api/items/{id} 200  1.234ms  [shop-api/4711]
//! 127.0.0.1:51234 → 127.0.0.1:8080 trace=4bf9…` (with the whole trace id). What is not known is `-`.

use std::fmt::Write as _;

use jiff::{Timestamp, tz::TimeZone};

use crate::{
    model::{
        net::Endpoint,
        span::{Kind, Span, Value},
    },
    terminal::escape,
};

/// Characters of a path that are shown; a scanner's would fill the screen.
const MAX_PATH: usize = 200;

/// Appends the line. The time is the span's start, in `zone`. Text from the wire is escaped: it must not move the
/// cursor, colour, or reorder what the terminal shows.
pub(super) fn line(span: &Span, zone: &TimeZone, out: &mut String) {
    // Writing to a string cannot fail.
    let _written = write(span, zone, out).is_ok();
}

fn write(span: &Span, zone: &TimeZone, out: &mut String) -> std::fmt::Result {
    let kind = span.kind.name();
    time(span.start_unix_ns, zone, out)?;
    write!(out, " {kind:<6} {:<5} ", protocol(span))?;
    name(span, out);
    out.push(' ');
    status(span, out)?;
    let micros = span.end_unix_ns.saturating_sub(span.start_unix_ns).saturating_add(500) / 1000;
    write!(out, "  {}.{:03}ms  [", micros / 1000, micros % 1000)?;
    escape(&span.resource.service_name, out);
    write!(out, "/{}] ", span.pid)?;
    match span.kind {
        Kind::Server | Kind::Internal => {
            other_end(span, out)?;
            out.push_str(" → ");
            local(span, &[SERVER], out)?;
        }
        Kind::Client | Kind::Producer | Kind::Consumer => {
            local(span, &[], out)?;
            out.push_str(" → ");
            other_end(span, out)?;
        }
    }
    writeln!(out, " trace={}", span.trace_id)
}

pub(super) fn time(unix_ns: u64, zone: &TimeZone, out: &mut String) -> std::fmt::Result {
    let Ok(timestamp) = Timestamp::from_nanosecond(unix_ns.into()) else { return write!(out, "{unix_ns}") };
    let at = zone.to_datetime(timestamp);
    let micros = at.subsec_nanosecond() / 1000;
    write!(out, "{:02}:{:02}:{:02}.{micros:06}", at.hour(), at.minute(), at.second())
}

pub(super) fn protocol(span: &Span) -> String {
    match find(span, "rpc.system.name") {
        Some(system) => shown(system).to_uppercase(),
        None if find(span, "http.request.method").is_some() => "HTTP".to_owned(),
        None => {
            let system = ["db.system.name", "messaging.system"].iter().find_map(|key| find(span, key));
            system.map_or_else(|| "-".to_owned(), |system| shown(system).to_uppercase())
        }
    }
}

/// The span's name; where it has no path of its own (a client's, or no route is known), the path as it was asked for. A name
/// that is not known says why.
pub(super) fn name(span: &Span, out: &mut String) {
    escape(&span.name, out);
    if find(span, "beyla.name.unknown").is_some() {
        out.push_str(" (name sent before the agent saw the connection)");
    } else if !["http.route", "url.template", "rpc.method"].iter().any(|key| find(span, key).is_some()) {
        let path = find(span, "url.path").map(shown).or_else(|| find(span, "url.full").map(|url| path_of(&shown(url))));
        if let Some(path) = path.filter(|path| !path.is_empty()) {
            out.push(' ');
            let end = path.char_indices().nth(MAX_PATH).map_or(path.len(), |(at, _)| at);
            escape(path.get(..end).unwrap_or_default(), out);
            out.push_str(if end < path.len() { "…" } else { "" });
        }
    }
}

/// The path of a URL; without its query, as a server's line.
fn path_of(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or_default();
    path.split(['?', '#']).next().unwrap_or_default().to_owned()
}

pub(super) fn status(span: &Span, out: &mut String) -> std::fmt::Result {
    let keys = ["rpc.status_code", "http.response.status_code", "error.type", "beyla.outcome"];
    match keys.iter().find_map(|key| find(span, key)) {
        Some(value) => escape(&shown(value), out),
        None => out.push('-'),
    }
    Ok(())
}

/// Attributes of an address and its port, best first.
type Places = &'static [(&'static str, &'static str)];
const PEER: (&str, &str) = ("network.peer.address", "network.peer.port");
const CLIENT: (&str, &str) = ("client.address", "client.port");
const SERVER: (&str, &str) = ("server.address", "server.port");

/// The process's own end: as the connection has it, else as the attributes do.
fn local(span: &Span, places: Places, out: &mut String) -> std::fmt::Result {
    match &span.local {
        Endpoint::Unknown => address(span, places, out),
        known => {
            escape(&known.to_string(), out);
            Ok(())
        }
    }
}

/// Who asked, or was asked.
pub(super) fn other_end(span: &Span, out: &mut String) -> std::fmt::Result {
    match span.kind {
        Kind::Server | Kind::Internal => address(span, &[PEER, CLIENT], out),
        Kind::Client | Kind::Producer | Kind::Consumer => address(span, &[PEER, SERVER], out),
    }
}

fn address(span: &Span, places: Places, out: &mut String) -> std::fmt::Result {
    let found = places.iter().find_map(|(address, port)| Some((find(span, address)?, find(span, port))));
    let Some((address, port)) = found else {
        out.push('-');
        return Ok(());
    };
    let address = shown(address);
    let brackets = port.is_some() && address.contains(':') && !address.starts_with('[');
    out.push_str(if brackets { "[" } else { "" });
    escape(&address, out);
    out.push_str(if brackets { "]" } else { "" });
    if let Some(port) = port {
        out.push(':');
        escape(&shown(port), out);
    }
    Ok(())
}

fn find<'a>(span: &'a Span, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|attribute| attribute.key == key).map(|attribute| &attribute.value)
}

fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => text.to_string(),
        Value::Shared(text) => text.to_string(),
        Value::Static(text) => (*text).to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::List(texts) => texts.join(","),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{export::testing, model::span::Attribute};

    fn printed(span: &Span) -> String {
        let mut out = String::new();
        line(span, &TimeZone::UTC, &mut out);
        out
    }

    fn attributes(pairs: &[(&'static str, Value)]) -> Vec<Attribute> {
        pairs.iter().map(|(key, value)| Attribute { key, value: value.clone() }).collect()
    }

    #[test]
    fn a_server_span_is_the_line_that_the_interface_shows() {
        assert_eq!(
            printed(&testing::span(1)),
            "10:20:01.234567 SERVER HTTP  GET /api/items/{id} 200  1.234ms  [shop-api/4711] 127.0.0.1:51234 → \
             127.0.0.1:8080 trace=4b4b4b4b4b4b4b4b0000000000000001\n"
        );
    }

    #[test]
    fn the_time_is_that_of_the_zone() {
        let mut out = String::new();
        line(&testing::span(1), &TimeZone::fixed(jiff::tz::offset(-5)), &mut out);
        assert!(out.starts_with("05:20:01.234567 "), "{out}");
    }

    #[test]
    fn a_grpc_client_span_goes_from_local_to_peer() {
        let mut span = testing::span(2);
        span.kind = Kind::Client;
        span.local = Endpoint::Inet("[fd00::2]:51234".parse().unwrap());
        span.name = "shop.Cart/Add".into();
        span.attributes = attributes(&[
            ("rpc.system.name", Value::Static("grpc")),
            ("rpc.status_code", Value::Static("NOT_FOUND")),
            ("server.address", Value::Str("cart".into())),
            ("server.port", Value::Int(9000)),
            ("network.peer.address", Value::Str("fd00::1".into())),
            ("network.peer.port", Value::Int(9000)),
        ]);
        assert_eq!(
            printed(&span),
            "10:20:01.234567 CLIENT GRPC  shop.Cart/Add NOT_FOUND  1.234ms  [shop-api/4711] [fd00::2]:51234 → [fd00::1]:9000 \
             trace=4b4b4b4b4b4b4b4b0000000000000002\n"
        );
    }

    #[test]
    fn a_line_without_a_route_has_the_path_that_was_asked_for() {
        let mut span = testing::span(1);
        let line = |span: &Span| printed(span).split("  ").nth(1).unwrap().to_owned();
        span.attributes.retain(|attribute| attribute.key != "http.route");
        span.name = "GET".into();
        assert_eq!(line(&span), "GET /api/items/4711 200");
        span.kind = Kind::Client;
        for (url, shown) in [
            ("http://h:81/a/b?token=REDACTED", "GET /a/b 200"),
            ("https://h", "GET 200"),
            ("http://h?x=1", "GET 200"),
            ("http://h/\x1b", "GET /\\u{1b} 200"),
        ] {
            let status = ("http.response.status_code", Value::Int(200));
            span.attributes = attributes(&[
                ("http.request.method", Value::Static("GET")),
                ("url.full", Value::Str(url.into())),
                status.clone(),
            ]);
            assert_eq!(line(&span), shown);
            span.attributes = attributes(&[
                ("http.request.method", Value::Static("GET")),
                ("url.template", Value::Static("/a/{b}")),
                ("url.full", Value::Str(url.into())),
                status,
            ]);
            assert_eq!(line(&span), "GET 200", "its name has the template");
        }
        span.attributes = attributes(&[
            ("http.request.method", Value::Static("GET")),
            ("url.full", Value::Str(format!("http://h/{}", "x".repeat(300)).into())),
        ]);
        assert!(line(&span).ends_with("x… -"), "{}", line(&span));
    }

    #[test]
    fn an_unknown_name_says_why_and_an_exchange_without_status_what_became_of_it() {
        let mut span = testing::span(1);
        span.name = "HTTP".into();
        span.attributes =
            attributes(&[("beyla.name.unknown", Value::Bool(true)), ("beyla.outcome", Value::Static("unseen"))]);
        assert!(
            printed(&span).contains(" HTTP (name sent before the agent saw the connection) unseen  "),
            "{}",
            printed(&span)
        );
    }

    #[test]
    fn what_is_not_known_is_a_dash() {
        let mut span = testing::span(1);
        span.attributes.clear();
        span.local = Endpoint::Unknown;
        span.end_unix_ns = span.start_unix_ns;
        assert_eq!(
            printed(&span),
            "10:20:01.234567 SERVER -     GET /api/items/{id} -  0.000ms  [shop-api/4711] - → - \
             trace=4b4b4b4b4b4b4b4b0000000000000001\n"
        );
    }

    #[test]
    fn text_from_the_wire_cannot_drive_the_terminal() {
        let mut span = testing::span(1);
        span.name = "GET /\x1b]0;pwned\x07\r\n\u{9b}2J\u{202e}x é".into();
        let line = printed(&span);
        assert!(line.contains("GET /\\u{1b}]0;pwned\\u{7}\\u{d}\\u{a}\\u{9b}2J\\u{202e}x é 200"), "{line:?}");
        assert_eq!(line.chars().filter(|c| c.is_control()).count(), 1, "only the line's end");
    }
}
