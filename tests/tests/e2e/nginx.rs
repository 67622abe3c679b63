//! nginx: an event loop per worker, `sendfile`, and workers that come and go.

use std::process::Command;

use rustix::process::Signal;
use serde_json::json;
use tests::{
    agent::{Backend, Watch},
    client::Connection,
    need, on_both_backends,
    program::{Program, children, folder, free_port},
    seen::assert_attributes,
    wait::poll,
};

on_both_backends!(
    one_worker,
    several_workers_that_are_replaced,
    a_client_that_a_proxy_names,
    requests_that_are_not_as_they_should_be,
);

const LARGE: usize = 3 << 20;

struct Nginx {
    master: Program,
    port: u16,
    /// Where a proxy's header is expected.
    proxied: u16,
    _files: tempfile::TempDir,
}

fn nginx(workers: usize) -> Nginx {
    let (files, port, proxied) = (folder(), free_port(), free_port());
    let at = files.path();
    std::fs::write(at.join("large.bin"), vec![b'l'; LARGE]).unwrap();
    let configuration = format!(
        "user root; worker_processes {workers}; daemon off; pid {at}/nginx.pid; error_log stderr warn;
         events {{ worker_connections 256; }}
         http {{
           access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
           client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
           uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
           server {{
             listen 127.0.0.1:{port};
             listen 127.0.0.1:{proxied} proxy_protocol;
             root {at};
             location /answer {{ return 200 \"hello from nginx\"; }}
             location /refuse {{ return 503; }}
           }}
         }}",
        at = at.display()
    );
    std::fs::write(at.join("nginx.conf"), configuration).unwrap();
    let mut command = Command::new(need::program("nginx"));
    command.arg("-p").arg(at).arg("-c").arg(at.join("nginx.conf")).args(["-e", "stderr"]);
    let mut master = Program::start(&mut command);
    poll("nginx listens and has its workers", || {
        assert!(master.is_running(), "nginx ended: {:#?}", master.stderr.so_far());
        let listens = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
        (listens && children(master.pid()).len() == workers).then_some(())
    });
    Nginx { master, port, proxied, _files: files }
}

fn one_worker(backend: Backend) {
    let nginx = nginx(1);
    let worker = children(nginx.master.pid()).first().map(|pid| u64::from(*pid));
    let watch = Watch::pid(backend, nginx.master.pid());
    let mut connection = Connection::to(nginx.port);
    for _ in 0..50 {
        assert_eq!(connection.get("/answer").text(), "hello from nginx");
    }
    assert_eq!(connection.get("/large.bin").body.len(), LARGE);
    assert_eq!(connection.get("/refuse").status, 503);
    assert_eq!(connection.request("HEAD", "/large.bin", &[], b"").status, 200);
    assert_eq!(connection.get("/none").status, 404);
    let seen = watch.finish(54);

    assert_eq!(seen.all_at("/answer").len(), 50);
    for span in seen.all_at("/answer") {
        assert_attributes(span, &json!({ "http.response.status_code": 200, "http.response.body.size": 16 }));
        assert_eq!((span.service(), span.resource["process.pid"].as_u64()), ("nginx", worker));
    }
    let sizes: Vec<_> =
        seen.all_at("/large.bin").iter().map(|it| it.attributes["http.response.body.size"].clone()).collect();
    assert_eq!(sizes, [json!(LARGE), json!(0)], "by GET, and by HEAD");
    assert_attributes(seen.at("/refuse"), &json!({ "http.response.status_code": 503, "error.type": "503" }));
    assert_eq!(seen.at("/refuse").status, "ERROR");
    assert_eq!(seen.at("/none").status, "UNSET");
    seen.assert_histograms_agree();
}

fn several_workers_that_are_replaced(backend: Backend) {
    const EACH: usize = 40;
    let nginx = nginx(3);
    let before = children(nginx.master.pid());
    let watch = Watch::pid(backend, nginx.master.pid());
    let ask = |target: &str| {
        for _ in 0..EACH {
            assert_eq!(Connection::to(nginx.port).get(target).status, 200);
        }
    };
    ask("/answer/before");
    nginx.master.signal(Signal::HUP);
    poll("nginx replaces its workers", || {
        let now = children(nginx.master.pid());
        (now.len() == 3 && now.iter().all(|pid| !before.contains(pid))).then_some(())
    });
    let after = children(nginx.master.pid());
    ask("/answer/after");
    let seen = watch.finish(2 * EACH);

    let instance = &seen.spans[0].resource["service.instance.id"];
    for (path, workers) in [("/answer/before", before), ("/answer/after", after)] {
        let spans = seen.all_at(path);
        assert_eq!(spans.len(), EACH, "{path}");
        for span in spans {
            // Workers belong to the instance of their master.
            assert_eq!(&span.resource["service.instance.id"], instance, "{path}");
            let pid = span.resource["process.pid"].as_u64();
            assert!(workers.iter().any(|worker| pid == Some((*worker).into())), "{path}: {pid:?} of {workers:?}");
        }
    }
    seen.assert_histograms_agree();
}

fn a_client_that_a_proxy_names(backend: Backend) {
    let nginx = nginx(1);
    let watch = Watch::pid(backend, nginx.master.pid());
    let line = b"PROXY TCP4 203.0.113.7 192.0.2.1 56324 443\r\n".to_vec();
    let block = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xdc\x04\x01\xbb".to_vec();
    for (version, header) in [("v1", line), ("v2", block)] {
        let mut connection = Connection::to(nginx.proxied);
        connection.send(header);
        for nth in 0..2 {
            assert_eq!(connection.get(&format!("/answer/{version}/{nth}")).status, 200);
        }
    }
    assert_eq!(Connection::to(nginx.port).get("/answer/direct").status, 200);
    let seen = watch.finish(5);
    for path in ["/answer/v1/0", "/answer/v1/1", "/answer/v2/0", "/answer/v2/1"] {
        let named =
            json!({ "client.address": "203.0.113.7", "client.port": 56324, "network.peer.address": "127.0.0.1" });
        assert_attributes(seen.at(path), &named);
    }
    assert_attributes(seen.at("/answer/direct"), &json!({ "client.address": "127.0.0.1" }));
}

fn requests_that_are_not_as_they_should_be(backend: Backend) {
    let nginx = nginx(1);
    let watch = Watch::pid(backend, nginx.master.pid());
    // Two in one piece that nginx takes, and each with one behind it.
    let mut connection = Connection::to(nginx.port);
    let host = "Host: h\r\n\r\n";
    connection.send(format!(
        "GET  /answer/two-blanks HTTP/1.1\r\n{host}GET /answer/version HTTP/1.2\r\n{host}GET /answer/behind HTTP/1.1 \r\n{host}"
    ));
    for _ in 0..3 {
        assert_eq!(connection.response(false).status, 200);
    }
    let mut refused = Connection::to(nginx.port);
    refused.send(format!("GET /answer/http2 HTTP/2.0\r\n{host}"));
    assert_eq!(refused.response(false).status, 505);
    // The whole response is its body.
    let mut old = Connection::to(nginx.port);
    old.send("GET /answer/old\r\n");
    assert_eq!(old.receive("hello from nginx".len()), b"hello from nginx");
    assert!(old.is_closed());
    let seen = watch.finish(5);
    for (path, status, version) in [
        ("/answer/two-blanks", json!(200), json!("1.1")),
        ("/answer/version", json!(200), json!("1.2")),
        ("/answer/behind", json!(200), json!("1.1")),
        ("/answer/http2", json!(505), json!(null)),
        ("/answer/old", json!(null), json!("0.9")),
    ] {
        let told = json!({ "http.response.status_code": status, "network.protocol.version": version });
        assert_attributes(seen.at(path), &told);
    }
    assert_attributes(seen.at("/answer/old"), &json!({ "http.response.body.size": 16, "beyla.outcome": null }));
}
