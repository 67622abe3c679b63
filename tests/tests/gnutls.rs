//! GnuTLS by each of its record functions, and a client that sends before its handshake is over (False Start).
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{path::PathBuf, process::Command};

use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    program::{Program, folder},
    seen::path,
};

on_both_backends!(every_function_that_moves_records_is_seen, a_client_with_false_start_is_seen_whole);

const CALLS: usize = 6;

struct Place {
    files: tempfile::TempDir,
    binary: PathBuf,
}

impl Place {
    fn new() -> Self {
        let files = folder();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(files.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(files.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let binary = need::compiled("gnutls.c", &["-lgnutls"], files.path());
        Self { files, binary }
    }

    fn start(&self, arguments: &[&str]) -> Program {
        Program::start(Command::new(&self.binary).args(arguments).current_dir(&self.files))
    }
}

fn every_function_that_moves_records_is_seen(backend: Backend) {
    let place = Place::new();
    for how in ["plain", "cork", "send2", "range", "file", "seq", "packet"] {
        let server = place.start(&["serve", "cert.pem", "key.pem", how]);
        let port = server.port();
        let watch = Watch::tls(backend, &[server.pid()]);
        let mut curl = Command::new(need::program("curl"));
        curl.args(["-sk", "-w", "%{stderr}%{http_code} %{size_download} "]);
        for call in 0..CALLS {
            curl.args([&format!("https://127.0.0.1:{port}/{how}/{call}"), "-o", "/dev/null"]);
        }
        let said = curl.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&said.stderr), "203 1000 ".repeat(CALLS), "{how}");
        let seen = watch.finish(CALLS);
        for call in 0..CALLS {
            let span = seen.at(&format!("/{how}/{call}"));
            assert_eq!(span.attributes["http.response.status_code"], 203, "{span:?}");
            assert_eq!(span.attributes["server.port"], port, "{span:?}");
        }
    }
}

fn a_client_with_false_start_is_seen_whole(backend: Backend) {
    let place = Place::new();
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
