//! Both ends of a connection whose addresses and ports are translated in between, as kube-proxy does.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::process::Command;

use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    program::Program,
    seen::path,
};

on_both_backends!(both_ends_of_a_request_are_one_trace);

fn both_ends_of_a_request_are_one_trace(backend: Backend) {
    need::root();
    let _rules = need::program("nft");
    let mut command = Command::new(need::program("unshare"));
    command.arg("--net").arg(need::python()).arg("-u").arg(need::source("translated.py"));
    let mut program = Program::start(&mut command);
    let server = program.says("server ").trim().parse().unwrap();
    let watch = Watch::pids(backend, &[program.pid(), server]);
    program.tell("ask");
    let _done = program.says("done");
    let seen = watch.finish(4);
    for wanted in ["/0", "/1"] {
        let of = |kind: &str| seen.spans.iter().find(|span| span.kind == kind && path(span) == Some(wanted)).unwrap();
        let (client, server) = (of("CLIENT"), of("SERVER"));
        assert_eq!(client.attributes["network.peer.address"], "10.96.0.10", "{wanted}");
        assert_eq!(server.attributes["network.peer.address"], "10.99.0.1", "{wanted}");
        assert_eq!(server.attributes["beyla.parent.evidence"], "connection", "{wanted}");
        assert_eq!((&server.trace_id, &server.parent_span_id), (&client.trace_id, &client.span_id), "{wanted}");
    }
}
