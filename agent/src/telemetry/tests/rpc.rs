use super::*;
use crate::model::span::{Kind, Status};

fn with(exchange: Exchange, change: impl FnOnce(&mut Rpc)) -> Exchange {
    match exchange.operation {
        Operation::Rpc(mut rpc) => {
            change(&mut rpc);
            Exchange { operation: Operation::Rpc(rpc), ..exchange }
        }
        _ => panic!("not a call"),
    }
}

#[test]
fn a_call_has_what_the_interface_names_in_order() {
    let span = span(rpc(Role::Client, Some(5)));
    assert_eq!((span.kind, span.status, span.name.as_str()), (Kind::Client, Status::Error, "shop.Cart/Add"));
    assert_eq!(
        shown(&span.attributes),
        [
            "rpc.system.name=grpc",
            "rpc.method=shop.Cart/Add",
            "rpc.status_code=NOT_FOUND",
            "server.address=cart",
            "server.port=50051",
            "network.peer.address=10.0.0.2",
            "network.peer.port=51234",
            "error.type=NOT_FOUND",
            "beyla.parent.evidence=none",
        ]
    );
}

#[test]
fn a_server_is_called_as_its_client_calls_it_and_never_by_its_socket() {
    let server = |host: Option<&str>| {
        let span = span(with(rpc(Role::Server, Some(0)), |rpc| rpc.host = host.map(Into::into)));
        assert_eq!(attribute(&span, "client.address"), None);
        (attribute(&span, "server.address"), attribute(&span, "server.port"))
    };
    assert_eq!(server(Some("cart:50051")), (Some("cart".to_owned()), Some("50051".to_owned())));
    assert_eq!(server(Some("cart")), (Some("cart".to_owned()), None));
    assert_eq!(server(None), (None, None));
}

#[test]
fn each_status_is_named_and_an_error_where_the_interface_says() {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    const SERVERS: [&str; 6] =
        ["UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"];
    for (code, name) in (0..).zip(NAMES) {
        for (role, error) in [(Role::Server, SERVERS.contains(&name)), (Role::Client, name != "OK")] {
            let span = span(rpc(role, Some(code)));
            assert_eq!(attribute(&span, "rpc.status_code").as_deref(), Some(name));
            assert_eq!(span.status, if error { Status::Error } else { Status::Unset }, "{role:?} {name}");
            assert_eq!(attribute(&span, "error.type").as_deref(), error.then_some(name), "{role:?} {name}");
        }
    }
}

#[test]
fn a_code_nobody_defined_is_its_number() {
    for role in [Role::Client, Role::Server] {
        let span = span(rpc(role, Some(99)));
        assert_eq!(attribute(&span, "rpc.status_code").as_deref(), Some("99"), "{role:?}");
        assert_eq!((span.status, attribute(&span, "error.type").as_deref()), (Status::Error, Some("99")), "{role:?}");
    }
}

#[test]
fn connect_has_words_of_its_own_and_none_for_success() {
    let connect = |status| with(rpc(Role::Client, Some(status)), |rpc| rpc.system = "connectrpc");
    let failed = span(connect(1));
    assert_eq!(attribute(&failed, "rpc.status_code").as_deref(), Some("canceled"));
    assert_eq!(attribute(&failed, "rpc.system.name").as_deref(), Some("connectrpc"));
    let fine = span(connect(0));
    assert_eq!((fine.status, attribute(&fine, "rpc.status_code")), (Status::Unset, None));
}

#[test]
fn a_proxys_answer_is_an_http_status_and_no_code_of_the_call() {
    let span = span(with(rpc(Role::Client, None), |rpc| rpc.http_status = Some(502)));
    assert_eq!(attribute(&span, "http.response.status_code").as_deref(), Some("502"));
    assert_eq!(attribute(&span, "rpc.status_code"), None);
    assert_eq!((span.status, attribute(&span, "error.type").as_deref()), (Status::Error, Some("502")));
}

#[test]
fn a_call_without_status_invents_none() {
    let client = span(ended(Outcome::Cancelled(Role::Client, 8), rpc(Role::Client, None)));
    let server = span(ended(Outcome::Cancelled(Role::Client, 8), rpc(Role::Server, None)));
    assert_eq!((client.status, attribute(&client, "error.type").as_deref()), (Status::Error, Some("cancelled")));
    assert_eq!((server.status, attribute(&server, "error.type")), (Status::Unset, None));
    for span in [client, server] {
        assert_eq!(attribute(&span, "rpc.status_code"), None);
        assert_eq!(attribute(&span, "beyla.outcome").as_deref(), Some("cancelled"));
    }
}

#[test]
fn a_call_that_has_its_status_is_over_however_the_stream_ends() {
    let span = span(ended(Outcome::Cancelled(Role::Client, 0), rpc(Role::Client, Some(0))));
    assert_eq!((span.status, attribute(&span, "error.type")), (Status::Unset, None));
    assert_eq!(attribute(&span, "beyla.outcome").as_deref(), Some("cancelled"));
}

#[test]
fn an_unknown_method_is_not_guessed_and_says_so() {
    let span = span(with(rpc(Role::Server, Some(0)), |rpc| {
        rpc.method = None;
        rpc.unknown_name = Some(3);
    }));
    assert_eq!(span.name, "grpc");
    assert_eq!(attribute(&span, "rpc.method"), None);
    assert_eq!(attribute(&span, "beyla.name.unknown").as_deref(), Some("true"));
    assert_eq!(attribute(&span, "beyla.name.unknown_entry").as_deref(), Some("3"));
}
