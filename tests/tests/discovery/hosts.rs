//! Names of addresses that processes have in `/etc/hosts` of their own.

use std::{fs, path::Path, process::Command};

use tests::{
    need,
    program::{Program, folder},
    receiver::ReceivedSpan,
};

use crate::watching::Discovering;

/// Serves one request, which it makes itself, by address.
const PROGRAM: &str = "
import http.client, http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
server = http.server.HTTPServer(('10.77.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
connection = http.client.HTTPConnection('10.77.0.1', server.server_port)
connection.request('GET', sys.argv[1])
print('answered', connection.getresponse().status)
sys.stdin.readline()
";

/// The program's two spans, as an agent with this configuration sees them. The address is in a network of the
/// program's own, and so is the name.
fn spans(at: &Path, config: &str, path: &str) -> Vec<ReceivedSpan> {
    let (file, hosts) = (at.join("agent.yaml"), at.join("hosts"));
    fs::write(&file, config).expect("a file can be written");
    fs::write(&hosts, "127.0.0.1 localhost\n10.77.0.1 warehouse.shop warehouse\n").expect("a file can be written");
    let script = format!(
        "ip link set lo up && ip addr add 10.77.0.1/32 dev lo && mount --bind {} /etc/hosts && exec \"$@\"",
        hosts.display()
    );
    let watch = Discovering::configured(&file);
    let mut command = Command::new(need::program("unshare"));
    command.args(["--net", "--mount", "sh", "-c", &script, "sh"]);
    let program = Program::start(command.arg(need::python()).args(["-u", "-c", PROGRAM, path]));
    assert_eq!(program.says("answered "), "204");
    watch.finish(path, 2)
}

/// How a side calls the other one: of the client `server.address`, of the server `client.address`; and the address.
fn others(spans: &[ReceivedSpan]) -> Vec<[&str; 2]> {
    let of = |kind: &str, key: &str| {
        let span = spans.iter().find(|span| span.kind == kind).unwrap_or_else(|| panic!("no {kind} span"));
        [key, "network.peer.address"].map(|key| span.attributes[key].as_str().expect("a text"))
    };
    vec![of("CLIENT", "server.address"), of("SERVER", "client.address")]
}

#[test]
fn other_sides_are_called_as_the_processs_own_hosts_file_does() {
    need::root();
    let files = folder();
    let named = spans(files.path(), "name_resolver: {}\n", "/hosts/named");
    assert_eq!(others(&named), [["warehouse.shop", "10.77.0.1"]; 2]);
    let bare = spans(files.path(), "name_resolver: {sources: [k8s]}\n", "/hosts/bare");
    assert_eq!(others(&bare), [["10.77.0.1", "10.77.0.1"]; 2]);
}
