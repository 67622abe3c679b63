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

on_both_backends!(one_worker, several_workers_that_are_replaced);

const LARGE: usize = 3 << 20;

struct Nginx {
    master: Program,
    port: u16,
    _files: tempfile::TempDir,
}

fn nginx(workers: usize) -> Nginx {
    let (files, port) = (folder(), free_port());
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
    Nginx { master, port, _files: files }
}

fn one_worker(backend: Backend) {
    let nginx = nginx(1);
    let [worker] = children(nginx.master.pid()).try_into().expect("one worker");
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
        assert_eq!((span.service(), span.resource["process.pid"].as_u64()), ("nginx", Some(worker.into())));
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
    ask("/answer/after");
    let seen = watch.finish(2 * EACH);

    for (path, is_old) in [("/answer/before", true), ("/answer/after", false)] {
        let spans = seen.all_at(path);
        assert_eq!(spans.len(), EACH, "{path}");
        for span in spans {
            let pid = span.resource["process.pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
            assert_eq!(before.contains(&pid), is_old, "{path} by {pid}; workers before: {before:?}");
        }
    }
    seen.assert_histograms_agree();
}
