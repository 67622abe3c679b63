//! A process whose files never answer: it costs nobody else anything.

use std::{
    fs,
    net::{IpAddr, TcpStream, UdpSocket},
    process::Command,
    time::{Duration, Instant},
};

use tests::{
    client::Connection,
    need,
    program::{Program, folder, free_port},
    wait::poll,
};

use crate::watching::{Discovering, by_service};

/// An address of this machine for which `/etc/hosts` is asked, as it is not for a loopback one.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    // Nothing is sent: the kernel chooses the address it would send from.
    socket.connect("192.0.2.1:9").and_then(|()| socket.local_addr()).expect("the machine has a network").ip()
}

#[test]
fn a_file_system_that_does_not_answer_blinds_the_agent_to_nobody_else() {
    let files = folder();
    let root = files.path().join("root");
    fs::create_dir(&root).unwrap();
    let serve = need::compiled("serve.c", &["-static"], files.path());
    need::copied(&serve, &root.join("serve"));
    let other = Program::python("server.py", [""; 0]);
    let other_port = other.port();
    let watch = Discovering::with(&[]);
    let port = free_port();
    let mut hanging = Command::new(need::python());
    hanging.arg(need::source("hanging_fs.py")).arg(&root).arg(port.to_string());
    let hanging = Program::start(&mut hanging);
    poll("the server listens", || TcpStream::connect(("127.0.0.1", port)).ok());
    let at = own_address();
    let began = Instant::now();
    for _ in 0..20 {
        let mut stream = TcpStream::connect((at, port)).unwrap();
        std::io::Write::write_all(&mut stream, b"GET /hanging/of HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        let mut answer = String::new();
        std::io::Read::read_to_string(&mut stream, &mut answer).unwrap();
        assert_eq!(Connection::to(other_port).get("/hanging/other").status, 200);
    }
    assert_eq!(watch.agent.page("/healthz").0, 200);
    watch.receiver.wait_for(|state| state.spans.len() >= 40, Duration::from_secs(20)).unwrap();
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // Figures are published once a second.
    poll("files that were not read are counted", || {
        (watch.agent.metric("beyla_rs_processes_unanswered_total", &[]) > 0.0).then_some(())
    });
    // A thread that waits for such a file system cannot be ended before it.
    drop(hanging);
    // Of a process whose files do not answer, the name of its program is told.
    let spans = watch.finish("/hanging/", 40);
    assert_eq!(by_service(&spans).get("serve"), Some(&20));
}
