//! Java: grpc-java (on Netty), and the web server and client of the JDK.

use std::{collections::BTreeMap, ffi::OsStr, process::Command, time::Duration};

use serde_json::json;
use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    program::Program,
    seen::{assert_attributes, path},
};

use super::orders;

on_both_backends!(a_grpc_service_and_its_client, the_web_server_and_client_of_the_jdk);

/// Starts a class of `tests/programs/java/`.
fn java(class: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    let made = need::made("java");
    let classes = format!("{}:{}", made.join("classes").display(), made.join("lib").join("*").display());
    // Short-lived: a JVM that compiles less starts sooner.
    let mut command = Command::new(need::program("java"));
    Program::start(
        command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &classes, class]).args(arguments),
    )
}

fn a_grpc_service_and_its_client(backend: Backend) {
    let seen =
        orders::are_seen(backend, &java("Orders", ["server"]), |port| java("Orders", ["client", &port.to_string()]));
    assert!(seen.spans.iter().all(|span| span.resource["telemetry.sdk.language"] == "java"), "{}", seen.summary());
}

fn the_web_server_and_client_of_the_jdk(backend: Backend) {
    let (server, mut client) = (java("Web", ["server"]), java("Web", ["client"]));
    let port = server.port();
    assert_eq!(client.says("ready"), "");
    let watch = Watch::pids(backend, &[server.pid(), client.pid()]);
    let asked = BTreeMap::from([("/hello", 20), ("/sleep", 1), ("/status/404", 2), ("/status/503", 1), ("/chunks", 3)]);
    for (asked, (path, count)) in asked.iter().enumerate() {
        let said = client.stdout.so_far().len();
        client.tell(&format!("{count} http://127.0.0.1:{port}{path}"));
        let status = path.strip_prefix("/status/").unwrap_or("200");
        assert_eq!(client.says_after(said, "done "), status, "{asked}: {path}");
    }
    let seen = watch.finish(2 * asked.values().sum::<usize>());
    for (kind, fails_from) in [("SERVER", 500), ("CLIENT", 400)] {
        for (&wanted, &count) in &asked {
            let spans = seen.of_kind(kind);
            let spans: Vec<_> = spans.into_iter().filter(|span| path(span) == Some(wanted)).collect();
            assert_eq!(spans.len(), count, "{kind} {wanted}: {}", seen.summary());
            let status: u64 = wanted.strip_prefix("/status/").map_or(200, |status| status.parse().unwrap());
            for span in spans {
                assert_attributes(
                    span,
                    &json!({
                        "http.request.method": "GET",
                        "http.response.status_code": status,
                        "http.response.body.size": 5,
                        "network.protocol.version": "1.1",
                        "network.peer.address": "127.0.0.1",
                        "server.port": port,
                        "beyla.outcome": null,
                    }),
                );
                assert_eq!(span.status, if status >= fails_from { "ERROR" } else { "UNSET" }, "{kind} {wanted}");
                let lasted = Duration::from_nanos(span.duration_ns());
                assert!(wanted != "/sleep" || lasted >= Duration::from_millis(60), "{kind} slept for {lasted:?}");
            }
        }
    }
    seen.assert_histograms_agree();
}
