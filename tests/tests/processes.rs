//! What the watched processes use of their host (`metrics.features: application_process`), as `/proc` and the wire have it.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
};

use tests::{
    agent::{Agent, Backend, Setup},
    on_both_backends,
    program::Program,
    wait::poll,
};

on_both_backends!(processes_are_told_of_as_the_kernel_and_the_wire_have_them);

/// Sends a request on a connection of its own. Gives the bytes that went and came.
fn ask(port: u16, target: &str) -> [usize; 2] {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    [request.len(), answer.len()]
}

fn figure(agent: &Agent, name: &str, pid: u32, label: &str) -> f64 {
    agent.metric(name, &[&format!("process_pid=\"{pid}\""), label])
}

fn processes_are_told_of_as_the_kernel_and_the_wire_have_them(backend: Backend) {
    let server = Program::python("server.py", [""; 0]);
    let (port, pid) = (server.port(), server.pid());
    let agent = Setup::pid(pid)
        .backend(backend)
        .env("OTEL_EBPF_METRICS_FEATURES", "application,application_process")
        .env("OTEL_EBPF_PROCESSES_INTERVAL", "100ms")
        .start();
    let mut moved = [0, 0];
    for target in ["/big?bytes=1000000", "/chunked", "/status/404", "/until-close"] {
        for (moved, more) in moved.iter_mut().zip(ask(port, target)) {
            *moved += more;
        }
    }
    for (direction, bytes) in ["receive", "transmit"].into_iter().zip(moved) {
        let label = format!("network_io_direction=\"{direction}\"");
        poll(&format!("{bytes} bytes are counted to {direction}"), || {
            (figure(&agent, "process_network_io_bytes_total", pid, &label) == bytes as f64).then_some(())
        });
    }
    let status = || fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let of_status = |name: &str| -> f64 {
        let text = status();
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    };
    poll("its threads are counted", || {
        (figure(&agent, "process_thread_count", pid, "") == of_status("Threads:")).then_some(())
    });
    let resident = of_status("VmRSS:") * 1024.0;
    let told = figure(&agent, "process_memory_usage_bytes", pid, "");
    assert!((told / resident - 1.0).abs() < 0.2, "{told} of {resident}");
    assert_eq!(figure(&agent, "process_memory_virtual_bytes", pid, ""), of_status("VmSize:") * 1024.0);
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as f64;
    assert_eq!(figure(&agent, "process_unix_file_descriptor_count", pid, ""), descriptors);
    let uptime = figure(&agent, "process_uptime_seconds", pid, "");
    assert!((0.1..3600.0).contains(&uptime), "{uptime}");
    let cpu = |mode: &str| figure(&agent, "process_cpu_time_seconds_total", pid, &format!("cpu_mode=\"{mode}\""));
    let used = cpu("user") + cpu("system");
    assert!(used > 0.0, "{used}");
    poll("its share of the processors is told", || {
        let (status, page) = agent.page("/metrics");
        (status == 200 && page.contains("process_cpu_utilization_ratio{")).then_some(())
    });
    let page = agent.page("/metrics").1;
    assert!(page.contains("process_disk_io_bytes_total{"), "{page}");
}

#[test]
fn there_are_none_unless_they_are_asked_for() {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    let agent = Setup::pid(server.pid()).start();
    ask(port, "/status/200");
    poll("the request is counted", || {
        (agent.metric("http_server_request_duration_seconds_count", &[]) == 1.0).then_some(())
    });
    assert!(!agent.page("/metrics").1.contains("\nprocess_"));
}
