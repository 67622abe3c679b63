//! Servers whose configuration is a file: those that pass each request on under one more number (`/r17` as `/r17.1`), and PHP
//! behind nginx.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use super::{
    runtimes::{At, Service},
    services,
};
use crate::{
    need,
    own_tls::certificate,
    program::{Program, free_port},
    wait::poll,
};

/// Two workers. Kept upstream connections are fewer than the load has. `protocol`: what it is asked over, if not HTTP/1.
pub(super) fn nginx(at: &At, keeps_upstream: bool, protocol: &str) -> Service {
    let servers: String = at.back_ends.iter().map(|port| format!("server 127.0.0.1:{port};")).collect();
    nginx_to(at, &servers, keeps_upstream, protocol, "http")
}

/// The same, which asks its back ends over TLS.
pub(super) fn nginx_to_tls(at: &At) -> Service {
    let servers: String = at.back_ends.iter().map(|port| format!("server 127.0.0.1:{port};")).collect();
    nginx_to(at, &servers, true, "", "https")
}

/// The same, to these servers.
pub(super) fn nginx_to(at: &At, servers: &str, keeps_upstream: bool, protocol: &str, scheme: &str) -> Service {
    let (keepalive, version) =
        if keeps_upstream { (format!("keepalive {};", at.pool), "1.1") } else { (String::new(), "1.0") };
    let port = free_port();
    let http = format!(
        "upstream back {{ {servers} {keepalive} }}
         server {{
           listen 127.0.0.1:{port} {protocol} backlog=1024;
           location / {{
             rewrite ^(/[^.?]+.*)$ $1.1 break;
             proxy_http_version {version}; proxy_set_header Connection \"\"; proxy_pass {scheme}://back;
           }}
         }}"
    );
    start_nginx(at.command(need::program("nginx")), at.folder, &http, port)
}

/// Answers whatever it is asked, over TLS.
pub(super) fn tls_back_end(folder: &Path) -> (Program, u16) {
    let port = free_port();
    let folder = folder.join(format!("back-end-{port}"));
    fs::create_dir(&folder).expect("a folder can be made");
    let [certificate, key] = certificate(&folder);
    let http = format!(
        "server {{
           listen 127.0.0.1:{port} ssl backlog=1024;
           ssl_certificate {}; ssl_certificate_key {};
           location / {{ return 200 ok; }}
         }}",
        certificate.display(),
        key.display()
    );
    let mut service = start_nginx(services::with_us(need::program("nginx")), &folder, &http, port);
    (service.programs.remove(0), port)
}

fn start_nginx(mut command: Command, at: &Path, http: &str, port: u16) -> Service {
    let folder = at.display();
    let configuration = format!(
        "user root; worker_processes 2; daemon off; pid {folder}/nginx.pid; error_log stderr error;
         worker_rlimit_nofile 8192;
         events {{ worker_connections 2048; }}
         http {{
           access_log off; keepalive_requests 1000000; keepalive_timeout 300s;
           client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
           uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
           {http}
         }}"
    );
    let file = write(at, "nginx.conf", &configuration);
    command.arg("-p").arg(at).arg("-c").arg(file).args(["-e", "stderr"]);
    At::told(&mut command, port)
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).expect("a file can be written");
    path
}

/// Two threads, which share their connections to the back ends.
pub(super) fn haproxy(at: &At) -> Service {
    let port = free_port();
    let pool = at.pool;
    let servers: String = at
        .back_ends
        .iter()
        .map(|back_end| format!("  server back{back_end} 127.0.0.1:{back_end} maxconn {pool} pool-max-conn {pool}\n"))
        .collect();
    let configuration = format!(
        "global
  nbthread 2
  maxconn 4000
defaults
  mode http
  timeout connect 30s
  timeout client 60s
  timeout server 60s
  timeout queue 60s
frontend front
  bind 127.0.0.1:{port} backlog 1024
  http-request set-path %[path].1
  default_backend back
backend back
  http-reuse always
  balance roundrobin
{servers}"
    );
    let file = write(at.folder, "haproxy.cfg", &configuration);
    At::told(at.command(need::program("haproxy")).arg("-db").arg("-f").arg(file), port)
}

/// The event MPM: two processes, and connections that are kept while they wait by none of their threads.
pub(super) fn apache(at: &At) -> Service {
    let (port, back_end, folder) = (free_port(), at.back_ends[0], at.folder.display());
    let configuration = format!(
        "ServerRoot {folder}
ServerName localhost
DefaultRuntimeDir {folder}
PidFile {folder}/apache.pid
Listen 127.0.0.1:{port}
ListenBacklog 1024
ErrorLog /proc/self/fd/2
User nobody
Group nogroup
Mutex posixsem
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule proxy_module /usr/lib/apache2/modules/mod_proxy.so
LoadModule proxy_http_module /usr/lib/apache2/modules/mod_proxy_http.so
LoadModule rewrite_module /usr/lib/apache2/modules/mod_rewrite.so
StartServers 2
ServerLimit 2
ThreadLimit 256
ThreadsPerChild 256
MaxRequestWorkers 512
AsyncRequestWorkerFactor 16
MaxKeepAliveRequests 0
KeepAliveTimeout 300
<Proxy http://127.0.0.1:{back_end}/>
  ProxySet max={pool}
</Proxy>
RewriteEngine On
RewriteRule ^/(.*)$ http://127.0.0.1:{back_end}/$1.1 [P]
",
        pool = at.pool
    );
    let file = write(at.folder, "apache.conf", &configuration);
    At::told(at.command(need::program("apache2")).arg("-DFOREGROUND").arg("-f").arg(file), port)
}

/// PHP-FPM behind nginx: its processes get their requests over FastCGI, each under one more number.
pub(super) fn php_fpm(at: &At) -> Service {
    let folder = at.folder.display();
    let socket = at.folder.join("fpm.sock");
    let configuration = format!(
        "[global]
error_log = /proc/self/fd/2
daemonize = no
[www]
user = root
listen = {folder}/fpm.sock
listen.backlog = 1024
pm = static
pm.max_children = 8
clear_env = no
"
    );
    let file = write(at.folder, "fpm.conf", &configuration);
    let mut command = at.command(fpm());
    command.args(["--nodaemonize", "--allow-to-run-as-root", "--fpm-config"]).arg(file);
    let mut program = Program::start(&mut command);
    poll("PHP-FPM listens", || {
        assert!(program.is_running(), "it ended: {:?}", program.stderr.so_far());
        socket.exists().then_some(())
    });
    let port = free_port();
    let http = format!(
        "server {{
           listen 127.0.0.1:{port} backlog=1024;
           location / {{
             fastcgi_pass unix:{folder}/fpm.sock;
             fastcgi_param SCRIPT_FILENAME {script};
             fastcgi_param REQUEST_METHOD $request_method;
             fastcgi_param REQUEST_URI $uri.0$is_args$args;
             fastcgi_param QUERY_STRING $query_string;
             fastcgi_param HTTP_TRACEPARENT $http_traceparent if_not_empty;
           }}
         }}",
        script = need::source("parents/answer.php").display()
    );
    let mut service = start_nginx(at.command(need::program("nginx")), at.folder, &http, port);
    service.programs.push(program);
    service
}

/// Debian's program has its version in its name.
fn fpm() -> PathBuf {
    let entries = fs::read_dir("/usr/sbin").expect("a folder can be listed").flatten();
    let found = entries
        .map(|entry| entry.path())
        .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("php-fpm")));
    found.expect("install the Debian package php-fpm")
}
