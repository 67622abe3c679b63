//! Names of addresses that processes have in `/etc/hosts` of their own.

use std::{fs, path::Path, process::Command};

use tests::{
    need,
    program::{Program, folder},
    receiver::{ReceivedSpan, State},
    seen::path,
    wait::poll,
};

use crate::watching::Discovering;

/// Serves requests that it makes itself, by address: one at once, and one for each line of its input.
const PROGRAM: &str = "
import http.client, http.server, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(204)
        self.end_headers()
server = http.server.HTTPServer(('10.77.0.1', 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
def ask(path):
    connection = http.client.HTTPConnection('10.77.0.1', server.server_port)
    connection.request('GET', path)
    print('answered', connection.getresponse().status)
ask(sys.argv[1])
for line in sys.stdin:
    ask(sys.argv[1] + '/' + line.strip())
";

/// Starts it in a network of its own, where the address is, and with a hosts file of its own.
fn start(hosts: &Path, path: &str) -> Program {
    let script = format!(
        "ip link set lo up && ip addr add 10.77.0.1/32 dev lo && mount --bind {} /etc/hosts && exec \"$@\"",
        hosts.display()
    );
    let mut command = Command::new(need::program("unshare"));
    command.args(["--net", "--mount", "sh", "-c", &script, "sh"]);
    let program = Program::start(command.arg(need::python()).args(["-u", "-c", PROGRAM, path]));
    assert_eq!(program.says("answered "), "204");
    program
}

/// The program's two spans, as an agent with this configuration sees them.
fn spans(at: &Path, config: &str, path: &str) -> Vec<ReceivedSpan> {
    let (file, hosts) = (at.join("agent.yaml"), at.join("hosts"));
    fs::write(&file, config).expect("a file can be written");
    fs::write(&hosts, "127.0.0.1 localhost\n10.77.0.1 warehouse.shop warehouse\n").expect("a file can be written");
    let watch = Discovering::configured(&file);
    let _program = start(&hosts, path);
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

#[test]
fn the_machines_resolver_is_asked_where_that_is_chosen() {
    let files = folder();
    let [config, of_agent, of_program] = ["agent.yaml", "of-agent", "of-program"].map(|name| files.path().join(name));
    fs::write(&config, "name_resolver: {sources: [dns]}\n").expect("a file can be written");
    // The agent's resolver reads files first.
    fs::write(&of_agent, "10.77.0.1 resolved.example\n").expect("a file can be written");
    fs::write(&of_program, "10.77.0.1 own.example\n").expect("a file can be written");
    let mounted = format!("mount --bind {} /etc/hosts && exec \"$@\"", of_agent.display());
    let watch = Discovering::set_up(|setup| {
        let setup = setup.args(["--config", config.to_str().expect("a path of text")]);
        setup.through(["unshare", "--mount", "sh", "-c", &mounted, "sh"])
    });
    let mut program = start(&of_program, "/hosts/dns");
    let mut asked = 0;
    poll("the name is known", || {
        asked += 1;
        let at = format!("/hosts/dns/{asked}");
        program.tell(&asked.to_string());
        let find = |state: &State| state.spans.iter().find(|span| is_call(span, &at)).cloned();
        assert!(watch.receiver.wait_for(|state| find(state).is_some(), tests::LONG).is_ok(), "no span of {at}");
        let span = find(&watch.receiver.state()).expect("it was there");
        (span.attributes["server.address"] == "resolved.example").then_some(())
    });
    let _spans = watch.finish("/hosts/dns", 2 + 2 * asked);
}

fn is_call(span: &ReceivedSpan, at: &str) -> bool {
    span.kind == "CLIENT" && path(span) == Some(at)
}
