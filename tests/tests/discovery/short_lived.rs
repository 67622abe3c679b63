//! Programs that are gone before anybody can look at them, and connections that are served by others than who listens.

use std::{fs, process::Command};

use tests::{
    client::Connection,
    need,
    program::{Program, folder},
};

use crate::watching::{Discovering, by_service};

/// Serves one request, and ends at once.
const ONCE: &str = "
import os, socket
listener = socket.create_server(('127.0.0.1', 0))
print('listening', listener.getsockname()[1], flush=True)
connection, _ = listener.accept()
connection.recv(4096)
connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')
connection.close()
os._exit(0)
";

/// Starts a program for each connection, which has that as its standard input and does not listen (as inetd does); the sixth it serves itself.
const INETD: &str = "
import os, signal, socket, sys
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.create_server(('127.0.0.1', 0))
print('listening', listener.getsockname()[1], flush=True)
for number in range(1, 1000):
    connection, _ = listener.accept()
    if number == 6:
        connection.recv(4096)
        connection.sendall(b'HTTP/1.1 207 Self\\r\\nContent-Length: 0\\r\\n\\r\\n')
    elif os.fork() == 0:
        os.dup2(connection.fileno(), 0)
        os.execv(sys.executable, [sys.executable, sys.argv[1]])
    connection.close()
";

const SERVED: &str = "
import os, socket
connection = socket.socket(fileno=0)
while connection.recv(4096):
    connection.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok')
os._exit(0)
";

/// Reads each request, and starts a program that answers it.
const CGI: &str = "
import os, signal, socket
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
listener = socket.create_server(('127.0.0.1', 0))
print('listening', listener.getsockname()[1], flush=True)
while True:
    connection, _ = listener.accept()
    later = b'/later' in connection.recv(4096)
    if os.fork() == 0:
        os.dup2(connection.fileno(), 1)
        wait = 'sleep 0.3; ' if later else ''
        os.execv('/bin/sh', ['sh', '-c', wait + \"printf 'HTTP/1.1 206 X\\\\r\\\\nContent-Length: 2\\\\r\\\\n\\\\r\\\\nok'\"])
    connection.close()
";

/// The program is not chosen, and the kernel side hears of that before it answers, or not.
#[test]
fn who_is_started_to_answer_does_so_for_the_server_that_was_chosen() {
    let files = folder();
    let script = files.path().join("cgi.py");
    fs::write(&script, CGI).expect("a script can be written");
    let server = Program::start(Command::new(need::python()).arg("-u").arg(&script));
    let port = server.port();
    let watch = Discovering::with(&["--port", &port.to_string()]);
    for number in 0..6 {
        let path = if number % 2 == 0 { "/cgi/at-once" } else { "/cgi/later" };
        assert_eq!(Connection::to(port).get(path).status, 206);
    }
    let spans = watch.finish("/cgi/", 6);
    let statuses: Vec<_> = spans.iter().map(|span| span.attributes.get("http.response.status_code")).collect();
    let seen = statuses.iter().filter(|status| status.and_then(|it| it.as_u64()) == Some(206)).count();
    assert_eq!(seen, 6, "{statuses:?}");
}

fn ask_servers_that_end(choice: &[&str], script: &std::path::Path, path: &str) {
    let watch = Discovering::with(choice);
    for _ in 0..10 {
        let mut server = Program::start(Command::new(need::python()).arg("-u").arg(script));
        assert_eq!(Connection::to(server.port()).get(path).status, 200);
        server.wait();
    }
    let counts = by_service(&watch.finish(path, 10));
    assert_eq!(counts.values().sum::<usize>(), 10, "{counts:?}");
}

#[test]
fn a_server_that_ends_with_its_only_answer_is_found_by_its_executable() {
    let files = folder();
    let script = files.path().join("once.py");
    fs::write(&script, ONCE).expect("a script can be written");
    ask_servers_that_end(&["--exe", "*/python3*"], &script, "/once-by-exe");
}

#[test]
fn a_server_that_ends_with_its_only_answer_is_found_by_its_port() {
    let files = folder();
    let script = files.path().join("once.py");
    fs::write(&script, ONCE).expect("a script can be written");
    ask_servers_that_end(&["--port", "1024-65535", "--exe", "*/python3*"], &script, "/once-by-port");
}

#[test]
fn a_port_chooses_programs_that_were_given_its_connections() {
    let files = folder();
    let (inetd, served) = (files.path().join("inetd.py"), files.path().join("served.py"));
    fs::write(&inetd, INETD).expect("a script can be written");
    fs::write(&served, SERVED).expect("a script can be written");
    let server = Program::start(Command::new(need::python()).arg("-u").arg(&inetd).arg(&served));
    let watch = Discovering::with(&["--port", &server.port().to_string()]);
    let ask = |times: usize| {
        for _ in 0..5 {
            let mut connection = Connection::to(server.port());
            for _ in 0..times {
                assert_eq!(connection.get("/given").status, 200);
            }
        }
    };
    ask(3);
    // From here on the listener itself is watched, and what it starts is by its start.
    assert_eq!(Connection::to(server.port()).get("/given/self").status, 207);
    ask(1);
    let counts = by_service(&watch.finish("/given", 21));
    assert_eq!(counts.get("served"), Some(&20), "{counts:?}");
}
