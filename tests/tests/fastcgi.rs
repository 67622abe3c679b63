//! FastCGI: php-fpm behind nginx, over TCP and a unix socket, with and without connections that are kept. Every request is told at nginx' end and at
//! that of PHP, with what nginx answered.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::json;
use tests::{
    agent::{Backend, Watch},
    client::Connection,
    need, on_both_backends,
    program::{Program, folder, free_port},
    receiver::ReceivedSpan,
    seen::assert_attributes,
    wait::poll,
};

on_both_backends!(php_behind_nginx);

/// How often each path was answered with each status.
type Counts = BTreeMap<(String, u64), u64>;

fn told<'a>(spans: impl IntoIterator<Item = &'a ReceivedSpan>) -> Counts {
    let mut counts = Counts::new();
    for span in spans {
        let path = span.attributes.get("url.path").and_then(|path| path.as_str().map(str::to_owned));
        let path = path.or_else(|| {
            let url = span.attributes.get("url.full")?.as_str()?;
            Some(format!("/{}", url.splitn(4, '/').nth(3)?.split('?').next()?))
        });
        let status = span.attributes.get("http.response.status_code").and_then(serde_json::Value::as_u64);
        *counts.entry((path.unwrap_or_default(), status.unwrap_or_default())).or_default() += 1;
    }
    counts
}

fn php_behind_nginx(backend: Backend) {
    let files = folder();
    let at = files.path().display();
    let [port, behind] = [free_port(), free_port()];
    let script = need::source("fastcgi.php");
    let pool = |name: &str, listen: &str| {
        format!("[{name}]\nuser = root\ngroup = root\nlisten = {listen}\npm = static\npm.max_children = 2\n")
    };
    let pools = pool("tcp", &format!("127.0.0.1:{behind}")) + &pool("unix", &format!("{at}/fpm.sock"));
    fs::write(files.path().join("fpm.conf"), format!("[global]\ndaemonize = no\nerror_log = {at}/fpm.log\n{pools}"))
        .unwrap();
    let to = |path: &str, where_to: &str, more: &str| {
        format!(
            "location {path} {{ fastcgi_pass {where_to}; {more}
               fastcgi_param SCRIPT_FILENAME {}; fastcgi_param REQUEST_METHOD $request_method;
               fastcgi_param REQUEST_URI $request_uri; fastcgi_param SCRIPT_NAME $fastcgi_script_name;
               fastcgi_param CONTENT_LENGTH $content_length; fastcgi_param CONTENT_TYPE $content_type; }}",
            script.display()
        )
    };
    let places = to("/", "kept", "fastcgi_keep_conn on;") + &to("/unix/", &format!("unix:{at}/fpm.sock"), "");
    let configuration = format!(
        "user root; worker_processes 1; daemon off; pid {at}/nginx.pid; error_log stderr error; events {{}}
         http {{ access_log off; client_body_temp_path {at}/body; fastcgi_temp_path {at}/fastcgi; client_max_body_size 1m;
           proxy_temp_path {at}/proxy; uwsgi_temp_path {at}/uwsgi; scgi_temp_path {at}/scgi;
           upstream kept {{ server 127.0.0.1:{behind}; keepalive 2; }}
           server {{ listen 127.0.0.1:{port}; {places} }} }}"
    );
    fs::write(files.path().join("nginx.conf"), configuration).unwrap();
    let mut command = Command::new(need::php_fpm());
    let fpm = Program::start(command.args(["-R", "-F", "-y"]).arg(files.path().join("fpm.conf")));
    poll("php-fpm listens", || std::net::TcpStream::connect(("127.0.0.1", behind)).ok());
    poll("its other pool does", || std::os::unix::net::UnixStream::connect(files.path().join("fpm.sock")).ok());
    let mut command = Command::new(need::program("nginx"));
    let nginx = Program::start(
        command.arg("-p").arg(files.path()).arg("-c").arg(files.path().join("nginx.conf")).args(["-e", "stderr"]),
    );
    poll("nginx listens", || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    let watch = Watch::pids(backend, &[fpm.pid(), nginx.pid()]);
    let mut asked = Counts::new();
    let body = vec![b'x'; 200_000];
    for _ in 0..5 {
        for (method, target) in [
            ("GET", "/"),
            ("GET", "/orders?secret=1"),
            ("GET", "/missing"),
            ("GET", "/large"),
            ("POST", "/upload"),
            ("GET", "/away"),
            ("GET", "/wrong"),
            ("GET", "/unix/orders"),
        ] {
            let body = if method == "POST" { &body[..] } else { b"" };
            let response = Connection::to(port).request(method, target, &[], body);
            let path = target.split('?').next().unwrap().to_owned();
            *asked.entry((path, u64::from(response.status))).or_default() += 1;
        }
    }
    assert_eq!(asked[&("/missing".to_owned(), 404)], 5, "{asked:?}");
    assert_eq!(asked[&("/away".to_owned(), 302)], 5, "{asked:?}");
    let all: u64 = asked.values().sum();
    let seen = watch.finish_when(3 * all as usize, |state| state.spans.len() as u64 >= 3 * all);
    let pid_of = |span: &ReceivedSpan| span.resource["process.executable.name"].as_str().unwrap_or_default().to_owned();
    let of = |kind: &str, is_php: bool| -> Vec<&ReceivedSpan> {
        seen.of_kind(kind).into_iter().filter(|span| pid_of(span).contains("php") == is_php).collect()
    };
    for spans in [of("SERVER", false), of("CLIENT", false), of("SERVER", true)] {
        assert_eq!(told(spans.iter().copied()), asked, "{}", seen.summary());
    }
    let unseen = seen.spans.iter().filter(|span| span.attributes.contains_key("beyla.outcome")).count();
    assert_eq!(unseen, 0, "{}", seen.summary());
    let uploaded = of("SERVER", true).into_iter().find(|span| span.name.starts_with("POST")).unwrap();
    assert_attributes(uploaded, &json!({"http.request.method": "POST", "url.path": "/upload"}));
    assert_eq!(seen.count("http.client.request.duration"), all);
    assert_eq!(seen.count("http.server.request.duration"), 2 * all);
}
