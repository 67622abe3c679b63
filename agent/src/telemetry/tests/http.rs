use super::*;
use crate::model::{
    ids::ProcessId,
    span::{Kind, Status},
};

#[test]
fn a_server_span_has_what_the_interface_names_in_order() {
    let http = Http {
        user_agent: Some("curl/8".into()),
        request_body_bytes: Some(3),
        response_body_bytes: Some(u64::MAX),
        ..get("/api/items/42?page=2&token=abc")
    };
    let span = span(served(http));
    assert_eq!((span.kind, span.status, span.name.as_str()), (Kind::Server, Status::Unset, "GET /api/items/{id}"));
    assert_eq!(
        shown(&span.attributes),
        [
            "http.request.method=GET",
            "http.response.status_code=200",
            "url.path=/api/items/42",
            "url.query=page=2&token=REDACTED",
            "url.scheme=http",
            "server.address=shop.example",
            "server.port=81",
            "client.address=10.0.0.2",
            "client.port=51234",
            "network.peer.address=10.0.0.2",
            "network.peer.port=51234",
            "network.protocol.version=1.1",
            "http.route=/api/items/{id}",
            "user_agent.original=curl/8",
            "http.request.body.size=3",
            "http.response.body.size=9223372036854775807",
            "beyla.parent.evidence=none",
        ]
    );
}

#[test]
fn a_client_span_has_what_the_interface_names_in_order() {
    let span = span(called(Http { status: Some(404), ..get("/api/items/42?page=2&token=abc") }));
    assert_eq!((span.kind, span.status, span.name.as_str()), (Kind::Client, Status::Error, "GET"));
    assert_eq!(
        shown(&span.attributes),
        [
            "http.request.method=GET",
            "http.response.status_code=404",
            "url.full=http://shop.example:81/api/items/42?page=2&token=REDACTED",
            "server.address=shop.example",
            "server.port=81",
            "network.peer.address=10.0.0.2",
            "network.peer.port=51234",
            "network.protocol.version=1.1",
            "error.type=404",
            "beyla.parent.evidence=none",
        ]
    );
}

#[test]
fn errors_are_5xx_for_servers_and_4xx_too_for_clients() {
    for (status, server, client) in [
        (100, Status::Unset, Status::Unset),
        (302, Status::Unset, Status::Unset),
        (399, Status::Unset, Status::Unset),
        (400, Status::Unset, Status::Error),
        (499, Status::Unset, Status::Error),
        (500, Status::Error, Status::Error),
        (599, Status::Error, Status::Error),
    ] {
        for (expected, ask) in [(server, served as fn(Http) -> Exchange), (client, called)] {
            let span = span(ask(Http { status: Some(status), ..get("/") }));
            let error = (expected == Status::Error).then(|| status.to_string());
            assert_eq!((span.status, attribute(&span, "error.type")), (expected, error), "{status}");
        }
    }
}

#[test]
fn a_method_that_is_not_known_is_other_and_names_no_span() {
    let span = span(served(Http { method: Some("PROPFIND".into()), ..get("/dav") }));
    assert_eq!(span.name, "HTTP /dav");
    assert_eq!(attribute(&span, "http.request.method").as_deref(), Some("_OTHER"));
    assert_eq!(attribute(&span, "http.request.method_original").as_deref(), Some("PROPFIND"));
}

#[test]
fn an_unknown_name_is_not_guessed_and_says_so() {
    let span = span(served(Http { method: None, target: None, unknown_name: Some(7), ..get("/") }));
    assert_eq!(span.name, "HTTP");
    assert_eq!(attribute(&span, "beyla.name.unknown").as_deref(), Some("true"));
    assert_eq!(attribute(&span, "beyla.name.unknown_entry").as_deref(), Some("7"));
    for absent in ["http.request.method", "url.path", "url.query", "http.route"] {
        assert_eq!(attribute(&span, absent), None, "{absent}");
    }
}

#[test]
fn a_name_that_was_lost_is_unknown_too() {
    let http = Http { method: None, target: None, headers_truncated: true, ..get("/") };
    assert_eq!(attribute(&span(served(http)), "beyla.name.unknown").as_deref(), Some("true"));
}

#[test]
fn a_known_name_does_not_say_it_is_unknown() {
    assert_eq!(attribute(&span(served(get("/"))), "beyla.name.unknown"), None);
}

#[test]
fn only_what_was_encrypted_has_a_version_of_tls() {
    let version = |tls| {
        let connection = ConnectionInfo { tls, tls_version: Some("1.3"), ..connection() };
        attribute(&span_over(served(get("/")), &connection), "tls.protocol.version")
    };
    // A body in the clear may look like a server's choice.
    assert_eq!((version(true).as_deref(), version(false)), (Some("1.3"), None));
}

#[test]
fn the_scheme_is_tls_first_then_what_the_wire_says_then_http() {
    let scheme = |http, tls| attribute(&span_over(served(http), &ConnectionInfo { tls, ..connection() }), "url.scheme");
    let wire = |scheme: &str| Http { scheme: Some(scheme.into()), ..get("/") };
    assert_eq!(scheme(get("/"), false).as_deref(), Some("http"));
    assert_eq!(scheme(get("/"), true).as_deref(), Some("https"));
    assert_eq!(scheme(wire("https"), false).as_deref(), Some("https"));
    assert_eq!(scheme(wire("http"), true).as_deref(), Some("https"));
    assert_eq!(scheme(wire("made-up"), false).as_deref(), Some("http"));
    assert_eq!(scheme(get("HTTPS://h/a"), false).as_deref(), Some("https"));
}

#[test]
fn an_absolute_target_names_the_server_before_the_host_header() {
    let span = span(served(get("http://other.example:82/a?b=1")));
    assert_eq!(attribute(&span, "server.address").as_deref(), Some("other.example"));
    assert_eq!(attribute(&span, "server.port").as_deref(), Some("82"));
    assert_eq!(attribute(&span, "url.path").as_deref(), Some("/a"));
    assert_eq!(attribute(&span, "url.query").as_deref(), Some("b=1"));
    assert_eq!(span.name, "GET /a");
}

#[test]
fn full_urls_are_put_together_and_credentials_are_not_in_them() {
    let full = |target: &str, host: Option<&str>, tls| {
        let http = Http { host: host.map(Into::into), ..get(target) };
        attribute(&span_over(called(http), &ConnectionInfo { tls, ..connection() }), "url.full")
    };
    for (target, host, tls, expected) in [
        ("/a", Some("h:80"), false, "http://h/a"),
        ("/a", Some("h:443"), true, "https://h/a"),
        ("/a", Some("h:443"), false, "http://h:443/a"),
        ("/a", Some("h"), false, "http://h:51234/a"),
        ("/a?b=1", None, false, "http://10.0.0.2:51234/a?b=1"),
        ("/a", Some("[::1]:90"), false, "http://[::1]:90/a"),
        ("*", Some("h:80"), false, "http://h"),
        ("http://h:80", None, false, "http://h/"),
        ("http://joe:hunter2@h:81/a", None, false, "http://REDACTED:REDACTED@h:81/a"),
        ("http://joe:hun@ter2@h:81/a", None, false, "http://REDACTED:REDACTED@h:81/a"),
        ("/a", Some("joe:hunter2@h:81"), false, "http://h:81/a"),
        ("/a;jsessionid=1?sig=2", Some("h:81"), false, "http://h:81/a;jsessionid=REDACTED?sig=REDACTED"),
    ] {
        assert_eq!(full(target, host, tls).as_deref(), Some(expected), "{target} {host:?}");
    }
}

#[test]
fn no_attribute_holds_a_users_password() {
    for http in
        [get("http://joe:hunter2@h/a"), Http { host: Some("joe:hunter2@h".into()), ..get("/a?password=hunter2") }]
    {
        for span in [span(served(http.clone())), span(called(http))] {
            let all = shown(&span.attributes);
            assert!(!all.iter().any(|shown| shown.contains("hunter2")), "{all:?}");
        }
    }
}

#[test]
fn connect_names_a_server_and_no_url() {
    let http = Http { method: Some("CONNECT".into()), host: None, ..get("db.example:5432") };
    for span in [span(served(http.clone())), span(called(http))] {
        assert_eq!(span.name, "CONNECT");
        assert_eq!(attribute(&span, "server.address").as_deref(), Some("db.example"));
        assert_eq!(attribute(&span, "server.port").as_deref(), Some("5432"));
        for absent in ["url.full", "url.path", "http.route"] {
            assert_eq!(attribute(&span, absent), None, "{absent}");
        }
    }
}

#[test]
fn a_cut_target_is_what_was_seen_and_has_no_route() {
    let span = span(served(Http { target_truncated: true, ..get("/api/ite") }));
    assert_eq!(span.name, "GET");
    assert_eq!(attribute(&span, "url.path").as_deref(), Some("/api/ite"));
    assert_eq!(attribute(&span, "beyla.target.truncated").as_deref(), Some("true"));
    assert_eq!(attribute(&span, "http.route"), None);
}

#[test]
fn a_target_that_was_cut_in_its_query_has_a_route_and_no_secret() {
    let span = span(served(Http { target_truncated: true, ..get("/api/items?token=abc") }));
    assert_eq!(span.name, "GET /api/items");
    assert_eq!(attribute(&span, "url.query").as_deref(), Some("token=REDACTED"));
    assert_eq!(attribute(&span, "beyla.target.truncated").as_deref(), Some("true"));
}

#[test]
fn cut_headers_are_marked() {
    let span = span(served(Http { headers_truncated: true, ..get("/") }));
    assert_eq!(attribute(&span, "beyla.headers.truncated").as_deref(), Some("true"));
}

#[test]
fn an_unbound_connection_has_no_addresses_and_says_so() {
    let span = span_over(served(get("/")), &unbound());
    assert_eq!(attribute(&span, "beyla.connection.unbound").as_deref(), Some("true"));
    for absent in ["client.address", "client.port", "network.peer.address", "network.peer.port"] {
        assert_eq!(attribute(&span, absent), None, "{absent}");
    }
    assert_eq!(attribute(&span, "server.address").as_deref(), Some("shop.example"));
    let nameless = span_over(called(Http { host: None, ..get("/a?token=b") }), &unbound());
    assert_eq!(attribute(&nameless, "url.full"), None);
    assert_eq!(attribute(&nameless, "url.path").as_deref(), Some("/a"));
    assert_eq!(attribute(&nameless, "url.query").as_deref(), Some("token=REDACTED"));
}

#[test]
fn unix_sockets_are_named_as_such() {
    let unix = ConnectionInfo {
        local: Endpoint::Unix("/run/shop.sock".into()),
        remote: Endpoint::Unix("".into()),
        ..connection()
    };
    let server = span_over(served(Http { host: None, ..get("/") }), &unix);
    assert_eq!(attribute(&server, "network.transport").as_deref(), Some("unix"));
    assert_eq!(attribute(&server, "server.address").as_deref(), Some("/run/shop.sock"));
    for absent in ["server.port", "client.address", "network.peer.address", "beyla.connection.unbound"] {
        assert_eq!(attribute(&server, absent), None, "{absent}");
    }
    let client = ConnectionInfo { local: unix.remote, remote: unix.local, ..connection() };
    let client = span_over(called(get("/")), &client);
    assert_eq!(attribute(&client, "network.peer.address").as_deref(), Some("/run/shop.sock"));
    assert_eq!(attribute(&client, "url.full").as_deref(), Some("http://shop.example:81/"));
}

#[test]
fn a_response_that_did_not_come_through_invents_no_status() {
    for (outcome, word) in [
        (Outcome::NoResponse, "no_response"),
        (Outcome::Cut, "cut"),
        (Outcome::Cancelled(Role::Client, 8), "cancelled"),
    ] {
        let unanswered = Http { status: None, ..get("/") };
        let server = span(ended(outcome, served(unanswered.clone())));
        let client = span(ended(outcome, called(unanswered)));
        assert_eq!((server.status, attribute(&server, "error.type")), (Status::Unset, None), "{word}");
        assert_eq!((client.status, attribute(&client, "error.type").as_deref()), (Status::Error, Some(word)));
        for span in [server, client] {
            assert_eq!(attribute(&span, "beyla.outcome").as_deref(), Some(word));
            assert_eq!(attribute(&span, "http.response.status_code"), None);
        }
    }
}

#[test]
fn a_cut_response_keeps_the_status_that_was_seen() {
    for (is_answered, word) in [(false, "no_response"), (true, "cut")] {
        let left = span(ended(Outcome::ServerLeft { is_answered }, served(Http { status: None, ..get("/") })));
        assert_eq!(attribute(&left, "beyla.outcome").as_deref(), Some(word));
        assert_eq!((left.status, attribute(&left, "error.type").as_deref()), (Status::Error, Some(word)));
    }
    let good = span(ended(Outcome::Cut, called(get("/"))));
    assert_eq!(attribute(&good, "http.response.status_code").as_deref(), Some("200"));
    assert_eq!((good.status, attribute(&good, "error.type").as_deref()), (Status::Error, Some("cut")));
    let bad = span(ended(Outcome::Cut, served(Http { status: Some(503), ..get("/") })));
    assert_eq!((bad.status, attribute(&bad, "error.type").as_deref()), (Status::Error, Some("503")));
    assert_eq!(attribute(&bad, "beyla.outcome").as_deref(), Some("cut"));
}

#[test]
fn an_exchange_whose_end_was_not_seen_says_so_and_is_no_error() {
    let span = span(ended(Outcome::Unseen, called(Http { status: None, ..get("/") })));
    assert_eq!(span.status, Status::Unset);
    assert_eq!(attribute(&span, "beyla.outcome").as_deref(), Some("unseen"));
    assert_eq!(attribute(&span, "error.type"), None);
    assert_eq!(attribute(&span, "http.response.status_code"), None);
}

/// Calls the other side of the test's connection `backend`.
struct Names;

impl crate::procs::NameSource for Names {
    fn name(&self, pid: ProcessId, _role: Role, connection: &ConnectionInfo) -> Option<compact_str::CompactString> {
        (pid == ProcessId(1) && connection.remote.ip() == Some([10, 0, 0, 2].into())).then(|| "backend".into())
    }
}

#[test]
fn a_name_of_the_address_is_used_where_the_request_gives_none() {
    let span_of = |exchange| {
        let mut stage = stage(Config::default());
        stage.telemetry.set_names(vec![Arc::new(Names)]);
        stage.on_exchange(exchange, &connection(), &resource(), None).unwrap()
    };
    let asked = |host: &str| span_of(called(Http { host: Some(host.into()), ..get("/x") }));
    let server = |span: &Span| attribute(span, "server.address").unwrap();
    let span = asked("10.0.0.2:81");
    assert_eq!(
        (server(&span).as_str(), attribute(&span, "url.full").unwrap().as_str()),
        ("backend", "http://10.0.0.2:81/x")
    );
    assert_eq!(attribute(&span, "network.peer.address").unwrap(), "10.0.0.2");
    assert_eq!(server(&asked("shop.example")), "shop.example");
    // The address of a proxy's target is not the connection's.
    assert_eq!(server(&asked("10.0.0.3")), "10.0.0.3");
    let served = span_of(served(get("/x")));
    assert_eq!(attribute(&served, "client.address").unwrap(), "backend");
    assert_eq!(server(&served), "shop.example");
}
