//! The servers, each started when a round wants it first, and kept.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsStr,
    fs,
    net::{Ipv4Addr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
};

use ::tests::{
    need,
    program::{Program, children, folder, free_port},
    wait::poll,
};
use tempfile::TempDir;

use crate::plan::{FILES, ServerKind, Wire};

/// A running server.
pub(crate) struct Server {
    pub(crate) program: Program,
    ports: Vec<(Wire, u16)>,
    /// The server behind it, and its port.
    behind: Option<(Program, u16)>,
}

impl Server {
    /// Where it speaks this.
    pub(crate) fn port(&self, wire: Wire) -> u16 {
        let wire = match wire {
            Wire::Pipelined => Wire::Http1,
            Wire::PipelinedTls => Wire::Http1Tls,
            other => other,
        };
        self.ports.iter().find(|(speaks, _)| *speaks == wire).expect("a server is drawn that speaks it").1
    }

    fn new(program: Program, ports: Vec<(Wire, u16)>) -> Self {
        Self { program, ports, behind: None }
    }

    /// Where the server behind it listens.
    pub(crate) fn behind(&self) -> Option<u16> {
        Some(self.behind.as_ref()?.1)
    }

    /// Its processes.
    pub(crate) fn pids(&self) -> Vec<u32> {
        let pid = self.program.pid();
        [vec![pid], children(pid)].concat()
    }
}

/// All of them, with the files that they need.
pub(crate) struct Servers {
    running: BTreeMap<u8, Server>,
    files: TempDir,
}

/// The variable by which a program names its service.
pub(crate) const SERVICE: &str = "OTEL_SERVICE_NAME";

/// The name of a service, different from that of others who run a torture of their own at this time.
pub(crate) fn service(name: &str) -> String {
    format!("torture-{}-{}", std::process::id(), name.to_lowercase())
}

impl Servers {
    /// None yet.
    pub(crate) fn new() -> Self {
        let files = folder();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]);
        let made = made.expect("a certificate can be made");
        let write = |name: &str, bytes: &[u8]| fs::write(files.path().join(name), bytes).expect("files can be written");
        write("cert.pem", made.cert.pem().as_bytes());
        write("key.pem", made.signing_key.serialize_pem().as_bytes());
        fs::create_dir(files.path().join("f")).expect("a folder can be made");
        for size in FILES {
            write(&format!("f/{size}"), &vec![b'a'; *size]);
            // As a path of ours says it.
            let at = files.path().join(format!("s/200/{size}/0"));
            fs::create_dir_all(&at).expect("a folder can be made");
            fs::write(at.join("w"), vec![b'a'; *size]).expect("files can be written");
        }
        Self { running: BTreeMap::new(), files }
    }

    /// The folder of `cert.pem` and `key.pem`.
    pub(crate) fn folder(&self) -> &Path {
        self.files.path()
    }

    /// A server of this kind, running.
    pub(crate) fn get(&mut self, kind: ServerKind) -> &mut Server {
        let at = self.files.path().to_owned();
        self.running.entry(kind as u8).or_insert_with(|| start(kind, &at))
    }

    /// It is to be started anew when it is wanted again.
    pub(crate) fn forget(&mut self, kind: ServerKind) {
        self.running.remove(&(kind as u8));
    }
}

fn start(kind: ServerKind, at: &Path) -> Server {
    let (certificate, key) = (at.join("cert.pem"), at.join("key.pem"));
    let begin = |mut command: Command| {
        command.env(SERVICE, service(&format!("{kind:?}")));
        Program::start(&mut command)
    };
    let with_files = |program: PathBuf, words: &[PathBuf]| {
        let mut command = Command::new(program);
        command.args(words).arg(&certificate).arg(&key);
        command
    };
    let says = |program: &Program| -> Vec<u16> {
        let ports = program.says("listening ");
        ports.split_whitespace().map(|port| port.parse().expect("a port")).collect()
    };
    match kind {
        ServerKind::Nginx => nginx(at, "nginx", &files_by_status(), begin),
        ServerKind::Proxy => {
            let mut command = with_files(own_copy(at, "torture-server"), &["serve".into()]);
            let behind = Program::start(command.env(SERVICE, service("behind")));
            let port = says(&behind)[0];
            let locations = format!("location / {{ proxy_pass http://127.0.0.1:{port}; }}");
            Server { behind: Some((behind, port)), ..nginx(at, "proxy", &locations, begin) }
        }
        ServerKind::Nghttpd => {
            let (clear, tls) = (free_port(), free_port());
            // One process for each, as the program has it.
            let mut command = with_me("sh");
            command.arg("-c").arg(format!(
                "setpriv --pdeathsig TERM {nghttpd} -a 127.0.0.1 -d {at} {tls} {key} {certificate} & exec {nghttpd} -a 127.0.0.1 --no-tls -d {at} {clear}",
                nghttpd = need::program("nghttpd").display(),
                at = at.display(),
                key = key.display(),
                certificate = certificate.display(),
            ));
            let mut program = begin(command);
            until_it_listens(&mut program, clear);
            until_it_listens(&mut program, tls);
            Server::new(program, vec![(Wire::H2c, clear), (Wire::Http2Tls, tls)])
        }
        ServerKind::Node => {
            let program = begin(with_files(need::program("node"), &[need::source("torture/server.js")]));
            let ports = says(&program);
            let ports = vec![
                (Wire::Http1, ports[0]),
                (Wire::H2c, ports[1]),
                (Wire::Grpc, ports[1]),
                (Wire::Http1Tls, ports[2]),
                (Wire::Http2Tls, ports[2]),
                (Wire::GrpcTls, ports[2]),
            ];
            Server::new(program, ports)
        }
        ServerKind::Asyncio | ServerKind::Threads => {
            let source = if kind == ServerKind::Asyncio { "asyncio_server.py" } else { "threads_server.py" };
            let program = begin(with_files(need::python(), &[need::source("torture").join(source)]));
            let ports = says(&program);
            Server::new(program, vec![(Wire::Http1, ports[0]), (Wire::Http1Tls, ports[1])])
        }
        ServerKind::GnuTls => {
            let binary = need::compiled("torture/gnutls_server.c", &["-lgnutls", "-lpthread"], at);
            let program = begin(with_files(binary, &[]));
            let ports = says(&program);
            Server::new(program, vec![(Wire::Http1Tls, ports[0])])
        }
        ServerKind::Go => {
            let program = begin(with_files(need::made("go").join("torture"), &[]));
            let ports = says(&program);
            let ports = vec![
                (Wire::Http1, ports[0]),
                (Wire::H2c, ports[0]),
                (Wire::Http1Tls, ports[1]),
                (Wire::Http2Tls, ports[1]),
                (Wire::Grpc, ports[2]),
                (Wire::GrpcTls, ports[3]),
            ];
            Server::new(program, ports)
        }
        ServerKind::Hyper => {
            let program = begin(with_files(own_copy(at, "torture-server"), &["serve".into()]));
            let ports = says(&program);
            let ports = vec![
                (Wire::Http1, ports[0]),
                (Wire::H2c, ports[0]),
                (Wire::Grpc, ports[0]),
                (Wire::Http1Tls, ports[1]),
                (Wire::Http2Tls, ports[1]),
                (Wire::GrpcTls, ports[1]),
            ];
            Server::new(program, ports)
        }
    }
}

/// A command that ends with this process, also if that is killed.
fn with_me(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(need::program("setpriv"));
    command.args(["--pdeathsig", "TERM"]).arg(program);
    command
}

/// This program under a name of its own, so that it can be chosen by its path.
pub(crate) fn own_copy(at: &Path, name: &str) -> PathBuf {
    let copy = at.join(name);
    if !copy.exists() {
        let own = env::current_exe().expect("a program knows its path");
        fs::copy(own, &copy).expect("a copy can be made");
    }
    copy
}

fn until_it_listens(server: &mut Program, port: u16) {
    poll("the server listens", || {
        assert!(server.is_running(), "it ended: {:#?}", server.stderr.so_far());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(())
    });
}

/// nginx answers each status by an error page of that status, so that bodies come from files whatever the method.
fn files_by_status() -> String {
    let mut locations = "location /f/ { internal; }\n".to_owned();
    for status in [200, 201, 400, 403, 404, 500, 503] {
        locations +=
            &format!("location ~ ^/s/{status}/(?<bytes>\\d+)/ {{ error_page 418 ={status} /f/$bytes; return 418; }}\n");
    }
    for status in [204, 304] {
        locations += &format!("location /s/{status}/ {{ return {status}; }}\n");
    }
    locations
}

/// nginx with these locations.
fn nginx(at: &Path, name: &str, locations: &str, begin: impl Fn(Command) -> Program) -> Server {
    let [http1, h2c, http1_tls, http2_tls] = [free_port(), free_port(), free_port(), free_port()];
    let configuration = format!(
        "user root; worker_processes 2; daemon off; pid {at}/{name}.pid; error_log stderr crit; worker_rlimit_nofile 8192;
         events {{ worker_connections 4096; }}
         http {{
           access_log off; keepalive_requests 1000000; keepalive_timeout 300s; http2_max_concurrent_streams 200;
           client_max_body_size 10m;
           client_body_temp_path {at}/{name}-body; proxy_temp_path {at}/{name}-proxy; fastcgi_temp_path {at}/{name}-fastcgi;
           uwsgi_temp_path {at}/{name}-uwsgi; scgi_temp_path {at}/{name}-scgi;
           ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
           server {{
             listen 127.0.0.1:{http1} backlog=1000; listen 127.0.0.1:{h2c} http2 backlog=1000;
             listen 127.0.0.1:{http1_tls} ssl backlog=1000; listen 127.0.0.1:{http2_tls} ssl http2 backlog=1000;
             default_type text/plain; root {at};
             {locations}
           }}
         }}",
        at = at.display()
    );
    fs::write(at.join(format!("{name}.conf")), configuration).expect("files can be written");
    let mut command = with_me(need::program("nginx"));
    command.arg("-p").arg(at).arg("-c").arg(at.join(format!("{name}.conf"))).args(["-e", "stderr"]);
    let mut program = begin(command);
    until_it_listens(&mut program, http2_tls);
    let pid = program.pid();
    poll("workers of nginx", || (children(pid).len() == 2).then_some(()));
    let ports = vec![(Wire::Http1, http1), (Wire::H2c, h2c), (Wire::Http1Tls, http1_tls), (Wire::Http2Tls, http2_tls)];
    Server::new(program, ports)
}
