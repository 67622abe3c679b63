//! GnuTLS by each of its record functions, and a client that sends before its handshake is over (False Start).
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::process::Command;

use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    own_tls::OwnTls,
    seen::path,
};

on_both_backends!(every_function_that_moves_records_is_seen, a_client_with_false_start_is_seen_whole);

const CALLS: usize = 6;

fn place() -> OwnTls {
    OwnTls::new("gnutls.c", &["-lgnutls"])
}

fn every_function_that_moves_records_is_seen(backend: Backend) {
    let place = place();
    for how in ["plain", "cork", "send2", "range", "file", "seq", "packet", "rest"] {
        let size = if how == "rest" { 20_000 } else { 1_000 };
        let server = place.start(&["serve", "cert.pem", "key.pem", how]);
        let port = server.port();
        let watch = Watch::tls(backend, &[server.pid()]);
        let mut curl = Command::new(need::program("curl"));
        curl.args(["-sk", "-w", "%{stderr}%{http_code} %{size_download} "]);
        for call in 0..CALLS {
            curl.args([&format!("https://127.0.0.1:{port}/{how}/{call}"), "-o", "/dev/null"]);
        }
        let said = curl.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stderr), format!("203 {size} ").repeat(CALLS), "{how}");
        let seen = watch.finish(CALLS);
        for call in 0..CALLS {
            let span = seen.at(&format!("/{how}/{call}"));
            assert_eq!(span.attributes["http.response.status_code"], 203, "{span:?}");
            assert_eq!(span.attributes["server.port"], port, "{span:?}");
            assert_eq!(span.attributes["http.response.body.size"], size, "{span:?}");
        }
    }
}

fn a_client_with_false_start_is_seen_whole(backend: Backend) {
    let place = place();
    let server = place.start(&["serve", "cert.pem", "key.pem", "plain"]);
    let port = server.port();
    let mut client = place.start(&["call", &port.to_string(), &CALLS.to_string()]);
    let _started = client.says("ready");
    let watch = Watch::tls(backend, &[client.pid()]);
    client.tell("go");
    let _finished = client.says("done");
    assert!(!client.stdout.so_far().iter().any(|line| line == "no False Start"), "{:?}", client.stdout.so_far());
    let seen = watch.finish(CALLS);
    for span in &seen.spans {
        assert!(path(span).is_some_and(|path| path.starts_with("/call/")), "{span:?}");
        assert_eq!(span.attributes["http.response.status_code"], 203, "{span:?}");
        assert_eq!(span.attributes["network.peer.port"], port, "{span:?}");
    }
}
