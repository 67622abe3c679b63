//! Processes that come and go, and threads that share connections.

use std::thread;

use tests::{
    agent::{Backend, Watch},
    client::Connection,
    on_both_backends,
    program::Program,
    receiver::ReceivedSpan,
};

on_both_backends!(workers_forked_before_and_after, connections_that_threads_share);

fn workers_forked_before_and_after(backend: Backend) {
    const EACH: usize = 30;
    let mut server = Program::python("prefork.py", ["2"]);
    let port = server.port();
    let watch = Watch::pid(backend, server.pid());
    let ask = |target: &str| -> Vec<u64> {
        let pid = |_| Connection::to(port).get(target).text().parse().expect("a pid");
        let mut pids: Vec<u64> = (0..EACH).map(pid).collect();
        pids.sort_unstable();
        pids
    };
    let early = ask("/early");
    for line in ["retire", "fork 3"] {
        let said = server.stdout.so_far().len();
        server.tell(line);
        let _done = server.says_after(said, "done");
    }
    let late = ask("/late");
    assert!(late.iter().all(|pid| !early.contains(pid)), "other workers answer now");
    let seen = watch.finish(2 * EACH);
    let instance = |path| -> Vec<_> {
        seen.all_at(path).iter().map(|span| span.resource["service.instance.id"].as_str().map(str::to_owned)).collect()
    };
    let instances = [instance("/early"), instance("/late")].concat();
    assert!(instances[0].is_some() && instances.iter().all(|instance| *instance == instances[0]), "{instances:?}");
    for (path, asked) in [("/early", early), ("/late", late)] {
        let pid = |span: &&ReceivedSpan| span.resource["process.pid"].as_u64().expect("a pid");
        let mut told: Vec<u64> = seen.all_at(path).iter().map(pid).collect();
        told.sort_unstable();
        assert_eq!(told, asked, "{path}: the workers that answered");
    }
    seen.assert_histograms_agree();
}

fn connections_that_threads_share(backend: Backend) {
    const CONNECTIONS: usize = 8;
    const EACH: usize = 20;
    let server = Program::python("pool.py", [""; 0]);
    let port = server.port();
    let watch = Watch::pid(backend, server.pid());
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|number| {
            thread::spawn(move || {
                let mut connection = Connection::to(port);
                for _ in 0..EACH {
                    assert_eq!(connection.get(&format!("/of/client{number}")).text(), "pooled");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().expect("all requests are answered");
    }
    let seen = watch.finish(CONNECTIONS * EACH);
    for number in 0..CONNECTIONS {
        let spans = seen.all_at(&format!("/of/client{number}"));
        assert_eq!(spans.len(), EACH);
        for span in spans {
            assert_eq!(span.attributes["http.response.body.size"], 6);
            assert!(span.duration_ns() >= 2_000_000, "the handler sleeps: {} ns", span.duration_ns());
        }
    }
    seen.assert_histograms_agree();
}
