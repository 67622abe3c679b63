//! nghttpd, and nginx with HTTP/2 in the clear and over TLS; asked by nghttp, h2load and curl.

use std::{
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::Command,
};

use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    program::{Program, folder, free_port},
    wait::poll,
};

use super::web::{Asked, GET, Shell, To, are_seen, certificate};

on_both_backends!(nghttpd_in_the_clear, nginx_in_the_clear_and_over_tls, an_upgrade_from_http1);

fn until_it_listens(server: &mut Program, port: u16) {
    poll("the server listens", || {
        assert!(server.is_running(), "it ended: {:#?}", server.stderr.so_far());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(())
    });
}

fn nghttpd_in_the_clear(backend: Backend) {
    let (files, port) = (folder(), free_port());
    std::fs::write(files.path().join("hello"), "hello").unwrap();
    let mut command = Command::new(need::program("nghttpd"));
    command.args(["--no-tls", "-a", "127.0.0.1", "-d"]).arg(files.path()).arg(port.to_string());
    let mut server = Program::start(&mut command);
    until_it_listens(&mut server, port);
    let mut shell = Shell::start();
    let watch = Watch::pids(backend, &[server.pid(), shell.0.pid()]);

    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let _headers = shell.run(&format!("nghttp --no-dep -n {}", url("/hello?nghttp")));
    let _headers = shell.run(&format!("nghttp --no-dep -nd /dev/null {}", url("/hello?upload")));
    shell.curl("--http2-prior-knowledge", &[url("/hello?curl"), url("/missing")], "2", &[200, 404]);
    shell.h2load(&format!("-c 4 -m 10 {}", url("/hello?load")), 500);

    let asked = [
        Asked { path: "/hello", count: 502, ..GET },
        // Its own page about that.
        Asked { path: "/missing", status: 404, body: None, ..GET },
        Asked { method: "POST", path: "/hello", ..GET },
    ];
    let count = asked.iter().map(|asked| asked.count).sum::<usize>();
    let seen = watch.finish(2 * count);
    let to = To::new(port, "http", "2");
    for kind in ["SERVER", "CLIENT"] {
        are_seen(&seen, kind, to, &asked);
    }
    seen.assert_histograms_agree();
}

fn nginx_in_the_clear_and_over_tls(backend: Backend) {
    let files = folder();
    let at = files.path();
    certificate(at);
    let [clear, tls, tls1] = [free_port(), free_port(), free_port()];
    let configuration = format!(
        "user root; worker_processes 1; daemon off; pid {at}/nginx.pid; error_log stderr warn; events {{}}
         http {{
           access_log off; keepalive_requests 100000;
           client_body_temp_path {at}/body; proxy_temp_path {at}/proxy; fastcgi_temp_path {at}/fastcgi;
           uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
           ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
           server {{
             listen 127.0.0.1:{clear} http2; listen 127.0.0.1:{tls} ssl http2; listen 127.0.0.1:{tls1} ssl;
             default_type text/plain;
             location / {{ return 200 hello; }}
             location /missing {{ return 404 'where is it?'; }}
             location /broken {{ return 503 sorry; }}
           }}
         }}",
        at = at.display()
    );
    std::fs::write(at.join("nginx.conf"), configuration).unwrap();
    let mut command = Command::new(need::program("nginx"));
    let mut server =
        Program::start(command.arg("-p").arg(at).arg("-c").arg(at.join("nginx.conf")).args(["-e", "stderr"]));
    until_it_listens(&mut server, tls1);
    // A client that has loaded all that others will load, and says nothing: what begins while the probes of a library are
    // put in place is not seen.
    let nobody = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut command = Command::new(need::program("curl"));
    let silent = Program::start(command.arg(format!("telnet://{}", nobody.local_addr().unwrap())));
    let _connected = nobody.accept().unwrap();
    let mut shell = Shell::start();
    let watch = Watch::tls(backend, &[server.pid(), silent.pid(), shell.0.pid()]);

    let paths = ["/hello", "/missing", "/broken"];
    let expected = |load| {
        [
            Asked { path: "/hello", ..GET },
            Asked { path: "/missing", status: 404, body: Some(12), ..GET },
            Asked { path: "/broken", status: 503, ..GET },
            Asked { path: "/load", count: load, ..GET },
        ]
    };
    let servers = [
        (To::new(clear, "http", "2"), "--http2-prior-knowledge", "-c 4 -m 10", 300),
        (To::new(tls, "https", "2"), "--http2", "-c 4 -m 10", 300),
        (To::new(tls1, "https", "1.1"), "--http1.1", "-c 2 --h1", 100),
    ];
    for (To { port, scheme, version, .. }, by_curl, by_h2load, load) in servers {
        let url = |path: &str| format!("{scheme}://127.0.0.1:{port}{path}");
        shell.curl(by_curl, &paths.map(url), version, &[200, 404, 503]);
        shell.h2load(&format!("{by_h2load} {}", url("/load")), load);
    }
    let count: usize = servers.iter().map(|(.., load)| 3 + load).sum();
    let seen = watch.finish(2 * count);
    for (to, .., load) in servers {
        for kind in ["SERVER", "CLIENT"] {
            are_seen(&seen, kind, to, &expected(load));
        }
    }
    seen.assert_histograms_agree();
}

/// Neither nghttpd nor nginx take an upgrade; Go's package `h2c` does.
fn an_upgrade_from_http1(backend: Backend) {
    let server = Program::start(&mut Command::new(need::made("go").join("upgrade")));
    let port = server.port();
    let mut shell = Shell::start();
    let watch = Watch::pids(backend, &[server.pid(), shell.0.pid()]);
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    shell.curl("--http2", &["/first", "/hello", "/status/404", "/sleep"].map(url), "2", &[200, 200, 404, 200]);
    shell.curl("--http2-prior-knowledge", &["/known", "/status/503"].map(url), "2", &[200, 503]);
    let asked = [
        Asked { path: "/first", ..GET },
        Asked { path: "/hello", ..GET },
        Asked { path: "/status/404", status: 404, body: Some(0), ..GET },
        Asked { path: "/sleep", sleep: std::time::Duration::from_millis(60), ..GET },
        Asked { path: "/known", ..GET },
        Asked { path: "/status/503", status: 503, body: Some(0), ..GET },
    ];
    let seen = watch.finish(2 * asked.len());
    for kind in ["SERVER", "CLIENT"] {
        are_seen(&seen, kind, To::new(port, "http", "2"), &asked);
    }
    seen.assert_histograms_agree();
}
