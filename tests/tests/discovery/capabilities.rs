//! The agent with the capabilities that `deploy/` gives it, and with fewer.

use std::{fs, path::Path, process::Command};

use beyla_rs::internals::USED;
use tests::{agent::Setup, client::Connection, need, program::Program, receiver::Receiver};

use crate::watching::{Discovering, by_service};

/// The capabilities of the DaemonSet.
fn granted() -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/base/daemonset.yaml");
    let text = fs::read_to_string(path).expect("the manifest is there");
    assert!(text.contains("drop: [ALL]") && text.contains("allowPrivilegeEscalation: false"));
    let list = text.lines().find_map(|line| line.trim().strip_prefix("add: [")?.strip_suffix(']'));
    let names = list.expect("capabilities are added").split(", ").map(|name| format!("CAP_{name}"));
    let number = |name: String| USED.iter().find(|used| used.name == name).map(|used| used.number);
    names.map(|name| number(name).expect("one that the agent uses")).collect()
}

/// Root that may do nothing but this, as the manifest says: `setpriv` and its options.
fn only(capabilities: &[u8]) -> Vec<String> {
    let list: String = capabilities.iter().map(|number| format!(",+cap_{number}")).collect();
    let setpriv = need::program("setpriv").display().to_string();
    let options = ["--inh-caps=-all", "--ambient-caps=-all", "--no-new-privs"].map(str::to_owned);
    [setpriv, format!("--bounding-set=-all{list}")].into_iter().chain(options).collect()
}

/// A server of another user.
fn server() -> Program {
    let mut command = Command::new(need::program("setpriv"));
    command.args(AS_NOBODY).arg(need::python()).arg("-u").arg("-c").arg(SERVER);
    Program::start(&mut command)
}

const AS_NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];

/// In the command line: this user may not be able to read the tests' folder.
const SERVER: &str = "
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header('Content-Length', '0')
        self.end_headers()
    def log_message(self, *_):
        pass
server = HTTPServer(('127.0.0.1', 0), Handler)
print('listening', server.server_port, flush=True)
server.serve_forever()
";

fn watching(capabilities: &[u8], arguments: &[&str]) -> Discovering {
    let receiver = Receiver::start();
    let setup = Setup::with(arguments).to(&receiver).through(only(capabilities));
    let agent = setup.start();
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("it runs");
    let mask = capabilities.iter().fold(0_u64, |mask, number| mask | 1 << number);
    for set in ["CapPrm", "CapEff", "CapBnd"] {
        assert!(status.contains(&format!("{set}:\t{mask:016x}")), "{set} is not {mask:016x}: {status}");
    }
    Discovering { agent, receiver }
}

#[test]
fn the_capabilities_of_the_manifest_suffice() {
    let server = server();
    // By the executable and by the port: both are read off another user's process.
    let port = server.port().to_string();
    for arguments in [&["--exe", "*/python3*", "--port", &port][..], &[]] {
        let watch = watching(&granted(), arguments);
        assert_eq!(Connection::to(server.port()).get("/least").status, 200);
        let log = watch.agent.log().concat();
        assert!(!log.contains("CAP_"), "nothing is missing: {log}");
        let spans = watch.finish("/least", 1);
        assert_eq!(spans[0].resource["process.pid"], server.pid());
        assert_eq!(spans[0].resource["telemetry.sdk.language"], "python");
        assert_eq!(by_service(&spans).len(), 1);
    }
}

#[test]
fn without_the_right_to_read_other_processes_it_says_what_will_not_match() {
    let server = server();
    let fewer: Vec<u8> = granted().into_iter().filter(|&number| number != SYS_PTRACE).collect();
    let mut watch = watching(&fewer, &["--exe", "*/python3*"]);
    let said = watch.agent.program().stderr.after(0, "CAP_SYS_PTRACE is missing", tests::LONG);
    let said = said.expect("it is said");
    assert!(said.contains("exe_path") && said.contains("setcap"), "{said}");
    assert_eq!(Connection::to(server.port()).get("/unseen").status, 200);
    let _none = watch.finish("/unseen", 0);
    // What needs no more than its events is seen all the same.
    let mut watch = watching(&fewer, &["--pid", &server.pid().to_string()]);
    assert_eq!(Connection::to(server.port()).get("/seen").status, 200);
    let said = watch.agent.program().stderr.after(0, "CAP_SYS_PTRACE is missing", tests::LONG);
    assert!(said.is_some());
    let spans = watch.finish("/seen", 1);
    assert_eq!(spans[0].resource["process.pid"], server.pid());
}

#[test]
fn without_the_right_to_read_others_files_it_says_what_is_not_seen() {
    let server = server();
    let fewer: Vec<u8> = granted().into_iter().filter(|&number| number != DAC_READ_SEARCH).collect();
    let mut watch = watching(&fewer, &["--pid", &server.pid().to_string()]);
    let said = watch.agent.program().stderr.after(0, "CAP_DAC_READ_SEARCH is missing", tests::LONG);
    let said = said.expect("it is said");
    assert!(said.contains("encrypt is not seen") && said.contains("setcap"), "{said}");
    assert_eq!(Connection::to(server.port()).get("/seen").status, 200);
    assert_eq!(watch.finish("/seen", 1).len(), 1);
}

/// The same server behind TLS. The key comes by the command line, too.
const BEHIND_TLS: &str = "
import ssl, sys, tempfile
def context():
    with tempfile.NamedTemporaryFile('w') as pem:
        pem.write(sys.argv[1])
        pem.flush()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem.name)
    return context
class TlsServer(HTTPServer):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.socket = context().wrap_socket(self.socket, server_side=True)
";

#[test]
fn what_a_tls_library_encrypts_is_seen_with_the_capabilities_of_the_manifest() {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let pem = signed.cert.pem() + &signed.signing_key.serialize_pem();
    let script = SERVER
        .replacen("class Handler", &format!("{BEHIND_TLS}class Handler"), 1)
        .replace("server = HTTPServer(", "server = TlsServer(");
    let mut command = Command::new(need::program("setpriv"));
    command.args(AS_NOBODY).arg(need::python()).args(["-u", "-c", &script, &pem]);
    let server = Program::start(&mut command);
    let url = format!("https://127.0.0.1:{}/least", server.port());

    // That it watches it says when the libraries of what runs already have their probes.
    let watch = watching(&granted(), &["--pid", &server.pid().to_string()]);
    for _ in 0..3 {
        let curl = Command::new(need::program("curl")).args(["-sk", "--fail", &url]).status().expect("curl starts");
        assert!(curl.success());
    }
    let spans = watch.finish("/least", 3);
    assert!(spans.iter().all(|span| span.attributes["url.scheme"] == "https"), "{spans:#?}");
}

const SYS_PTRACE: u8 = 19;
const DAC_READ_SEARCH: u8 = 2;
