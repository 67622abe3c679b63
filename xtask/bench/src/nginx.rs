//! nginx with one worker, HTTP/1.1 with keep-alive, plain and behind TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::procfs;
use super::scenario::{Bars, LOAD_CORE, Load, SERVER_CORE, Scenario, Server};
use xtask::child::{self, Running};
use xtask::http;
use xtask::shell;

pub(crate) const PLAIN: Scenario = Scenario {
    name: "nginx",
    title: "nginx, one worker, HTTP/1.1 keep-alive, 32 connections, every request traced, OTLP on",
    start: |folder| Ok(Box::new(Nginx::start(folder, false)?)),
    uses_uprobes: false,
    bars: Bars::of(1.0, 6.0),
};

pub(crate) const TLS: Scenario = Scenario {
    name: "tls",
    title: "nginx, one worker, HTTP/1.1 keep-alive behind TLS (OpenSSL), 32 connections, every request traced, OTLP on",
    start: |folder| Ok(Box::new(Nginx::start(folder, true)?)),
    uses_uprobes: true,
    bars: Bars { server_us: None, of_hooks_only: Some(0.90), ..Bars::of(0.0, 6.0) },
};

/// Connections of the load at full speed.
const CONNECTIONS: u32 = 32;
/// Connections of the load at a fixed rate: a divisor of round rates, since the load's program takes a whole number per
/// connection.
const CONNECTIONS_AT_RATE: u32 = 20;

struct Nginx {
    running: Running,
    worker: u32,
    address: SocketAddr,
    status: SocketAddr,
    scheme: &'static str,
    /// Questions for the status so far: nginx counts them as well.
    asked: u64,
}

impl Nginx {
    fn start(folder: &Path, tls: bool) -> Result<Self> {
        let (address, status) = (http::free_address()?, http::free_address()?);
        let file = folder.join("nginx.conf");
        if tls {
            certify(folder)?;
        }
        fs::write(&file, configuration(folder, address, status, tls)).context("cannot write nginx's configuration")?;
        let program = shell::which("nginx").context("no nginx")?;
        let mut command = child::command(&program, Some(SERVER_CORE));
        if tls {
            // A copy of its own, so that the load, which uses the same library, is not probed.
            own_library(&program, folder)?;
            command.env("LD_LIBRARY_PATH", folder);
        }
        command.arg("-e").arg(folder.join("error.log")).arg("-p").arg(folder).arg("-c").arg(&file);
        let mut running = Running::start("nginx", &mut command)?;
        let pid = running.pid();
        let mut asked = 0;
        let worker = running
            .wait_until(Duration::from_secs(10), || {
                let up = http::get(status, "/status").is_ok();
                asked += u64::from(up);
                procfs::child_of(pid).filter(|_| up)
            })
            .with_context(|| fs::read_to_string(folder.join("error.log")).unwrap_or_default())?;
        let scheme = if tls { "https" } else { "http" };
        Ok(Self { running, worker, address, status, scheme, asked })
    }
}

impl Server for Nginx {
    fn watched(&self) -> u32 {
        self.running.pid()
    }

    fn worker(&self) -> u32 {
        self.worker
    }

    fn load(&self, load: Load, length: Duration) -> Command {
        self::load(&format!("{}://{}/api", self.scheme, self.address), load, length)
    }

    fn served(&mut self) -> Result<Option<u64>> {
        let page = http::get(self.status, "/status").context("cannot ask nginx for its status")?;
        self.asked += 1;
        requests(&page)
            .and_then(|all| all.checked_sub(self.asked))
            .map(Some)
            .with_context(|| format!("odd status of nginx: {page}"))
    }

    fn running(&mut self) -> &mut Running {
        &mut self.running
    }
}

/// The load on a server that speaks HTTP/1.1.
pub(crate) fn load(url: &str, load: Load, length: Duration) -> Command {
    let seconds = length.as_secs().to_string();
    let mut command;
    match load {
        Load::Full => {
            command = child::command("wrk", Some(LOAD_CORE));
            command.args(["-t1", "-c", &CONNECTIONS.to_string(), "-d", &seconds, url]);
        }
        Load::PerSecond(rate) => {
            let connections = CONNECTIONS_AT_RATE.min(rate);
            command = child::command("h2load", Some(LOAD_CORE));
            command.args(["--h1", "-t1", "-c", &connections.to_string(), "-D", &seconds, "--rps"]);
            command.args([&(rate / connections).to_string(), url]);
        }
    }
    command
}

/// Makes a key and a certificate in a folder.
pub(crate) fn certify(folder: &Path) -> Result<()> {
    let key = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost \
               -keyout key.pem -out cert.pem";
    shell::run(Command::new("openssl").args(key.split_whitespace()).current_dir(folder).stderr(Stdio::null()))
}

/// Copies the TLS library that a program is linked with into a folder.
fn own_library(program: &Path, folder: &Path) -> Result<()> {
    let libraries = shell::output(Command::new("ldd").arg(program))?;
    let path = library(&libraries).with_context(|| format!("{} is not linked with libssl.so", program.display()))?;
    let name = Path::new(path).file_name().context("a library without a name")?;
    fs::copy(path, folder.join(name)).with_context(|| format!("cannot copy {path}"))?;
    Ok(())
}

/// The path behind `libssl.so.3 => ` in what `ldd` prints.
fn library(libraries: &str) -> Option<&str> {
    let line = libraries.lines().find(|line| line.trim_start().starts_with("libssl.so"))?;
    line.split_once("=> ")?.1.split_whitespace().next()
}

/// The third number of the status page's third line: requests, this one included.
fn requests(page: &str) -> Option<u64> {
    page.lines().nth(2)?.split_whitespace().nth(2)?.parse().ok()
}

fn configuration(folder: &Path, address: SocketAddr, status: SocketAddr, tls: bool) -> String {
    let folder = folder.display();
    let ssl = if tls {
        format!("ssl; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;")
    } else {
        ";".to_owned()
    };
    // The worker of an nginx that root starts would change to another user, who may not enter our folder.
    let user = if shell::is_root() { "user root;" } else { "" };
    format!(
        "daemon off; {user} worker_processes 1; worker_cpu_affinity 01; pid {folder}/nginx.pid;
error_log {folder}/error.log error;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    keepalive_requests 1000000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen {address} {ssl}
        location /api {{
            default_type application/json;
            return 200 '{{\"items\":[{{\"id\":1,\"name\":\"first\"}},{{\"id\":2,\"name\":\"second\"}}],\"total\":2}}';
        }}
    }}
    server {{
        listen {status};
        location = /status {{ stub_status; }}
    }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tls_library_is_read_off_the_list_of_libraries() {
        let libraries =
            "\tlibcrypt.so.1 => /lib/libcrypt.so.1 (0x00007f2)\n\tlibssl.so.3 => /lib/libssl.so.3 (0x00007f1)\n";
        assert_eq!(library(libraries), Some("/lib/libssl.so.3"));
        assert_eq!(library("\tlibc.so.6 => /lib/libc.so.6 (0x1)\n"), None);
    }

    #[test]
    fn requests_are_read_off_the_status_page() {
        let page = "Active connections: 1 \nserver accepts handled requests\n 34 34 49858 \nReading: 0 Writing: 1 Waiting: 0 \n";
        assert_eq!(requests(page), Some(49_858));
        assert_eq!(requests("Active connections: 1 \n"), None);
    }
}
