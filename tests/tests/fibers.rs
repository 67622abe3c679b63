//! Programs that switch stacks within a TLS library, watched and not watched: they live, and what is told of them is right.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{collections::BTreeMap, path::Path};

use tests::{
    agent::{Backend, Setup, Watch},
    on_both_backends,
    own_tls::OwnTls,
    program::Program,
    receiver::Receiver,
    seen::path,
    wait::poll,
};

on_both_backends!(
    fibers_are_seen_at_both_ends,
    fibers_that_move_from_thread_to_thread_are_seen_at_both_ends,
    fibers_that_are_not_watched_live,
);

const CONNECTIONS: usize = 12;
const CALLS: usize = 30;

struct Place(OwnTls);

impl Place {
    fn new() -> Self {
        let place = OwnTls::new("fibers.c", &["-lssl", "-lcrypto", "-lpthread"]);
        // A copy of the library of its own: probes of other agents would count as well.
        for name in ["libssl.so.3", "libcrypto.so.3"] {
            let library = Path::new("/usr/lib/x86_64-linux-gnu").join(name);
            std::fs::copy(library, place.files.path().join(name)).unwrap();
        }
        Self(place)
    }

    fn start(&self, arguments: &[&str]) -> Program {
        Program::start(self.0.command(arguments).env("LD_LIBRARY_PATH", self.0.files.path()))
    }

    /// A server and a client that waits to be told to begin.
    fn both(&self, how: &[&str]) -> (Program, Program) {
        let server = self.start(&[&["serve", "cert.pem", "key.pem"], how].concat());
        let (port, connections, calls) = (server.port().to_string(), CONNECTIONS.to_string(), CALLS.to_string());
        let client = self.start(&[&["call", &port, &connections, &calls], how].concat());
        let _started = client.says("ready");
        (server, client)
    }
}

fn fibers_are_seen_at_both_ends(backend: Backend) {
    both_ends_are_seen(backend, &[]);
}

fn fibers_that_move_from_thread_to_thread_are_seen_at_both_ends(backend: Backend) {
    both_ends_are_seen(backend, &["threads"]);
}

fn both_ends_are_seen(backend: Backend, how: &[&str]) {
    let place = Place::new();
    let (mut server, mut client) = place.both(how);
    let watch = Watch::tls(backend, &[server.pid(), client.pid()]);
    client.tell("go");
    let _finished = client.says("done");
    assert!(!client.stdout.so_far().iter().any(|line| line.contains("wrong")), "{:?}", client.stdout.so_far());
    assert_both_live(&mut server, &mut client);
    let seen = watch.finish(2 * CONNECTIONS * CALLS);
    let mut ports: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for span in &seen.spans {
        let [_, connection, _, status] = path(span).unwrap().split('/').collect::<Vec<_>>()[..] else {
            panic!("{}", seen.summary())
        };
        let number = |name: &str| span.attributes[name].as_u64().unwrap_or_else(|| panic!("no {name} in {span:?}"));
        assert_eq!(number("http.response.status_code").to_string(), status, "{span:?}");
        // Which connection carries an object is not mixed up: each has one port of the client for its whole life.
        if span.kind == "SERVER" {
            let port = *ports.entry((span.kind, connection)).or_insert_with(|| number("client.port"));
            assert_eq!(number("client.port"), port, "{}", seen.summary());
        } else {
            assert_eq!(number("network.peer.port"), number("server.port"), "{span:?}");
        }
    }
    let different: std::collections::BTreeSet<u64> = ports.values().copied().collect();
    assert_eq!(different.len(), CONNECTIONS, "{ports:?}");
    for connection in 0..CONNECTIONS {
        for call in 0..CALLS {
            let status = 400 + (connection * 7 + call) % 50;
            let at = format!("/{connection}/{call}/{status}");
            assert_eq!(seen.all_at(&at).len(), 2, "{at}: {}", seen.summary());
        }
    }
    assert_eq!(seen.spans.len(), 2 * CONNECTIONS * CALLS);
}

fn assert_both_live(server: &mut Program, client: &mut Program) {
    assert!(server.is_running(), "the server has ended: {:?}", server.wait());
    assert!(client.is_running(), "the client has ended: {:?}", client.wait());
}

/// A probe is in the file, and so in every process that uses it.
fn fibers_that_are_not_watched_live(backend: Backend) {
    let place = Place::new();
    let (mut server, mut client) = place.both(&[]);
    // It has the library, and asks nothing.
    let watched = place.start(&["call", "1", "0", "0"]);
    let _started = watched.says("ready");
    let receiver = Receiver::start();
    let agent = Setup::pid(watched.pid()).args(["--log-level", "debug"]).backend(backend).to(&receiver).start();
    poll("the library is attached", || {
        agent.log().iter().any(|line| line.contains("TLS library attached")).then_some(())
    });
    client.tell("go");
    let _finished = client.says("done");
    assert!(!client.stdout.so_far().iter().any(|line| line.contains("wrong")), "{:?}", client.stdout.so_far());
    assert_both_live(&mut server, &mut client);
    let ended = agent.stop();
    assert!(ended.status.success(), "{:?}", ended.log);
    assert!(receiver.spans().is_empty());
}
