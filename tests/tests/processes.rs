//! What the watched processes use of their host (`metrics.features: application_process`), as `/proc` and the wire have it.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    process::Command,
};

use tests::{
    agent::{Agent, Backend, Setup},
    need, on_both_backends,
    program::Program,
    wait::poll,
};

on_both_backends!(processes_are_told_of_as_the_kernel_and_the_wire_have_them, go_is_told_of_as_its_runtime_counts,);

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

/// A program of Go with so many goroutines, built with a release and arguments, and with this environment.
fn counting(name: &str, release: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Program {
    let built = need::built_by_go("go-metrics", name, release, arguments, &[]);
    let program = Program::start(Command::new(built).arg("30").envs(environment.iter().copied()));
    assert_eq!(program.says("ready"), "");
    program
}

/// What the agent says of it is what it says of itself.
fn is_told_of_as_it_counts(backend: Backend, what: &str, program: &mut Program) {
    let pid = program.pid();
    let agent = Setup::pid(pid)
        .backend(backend)
        .env("OTEL_EBPF_METRICS_FEATURES", "application_process")
        .env("OTEL_EBPF_PROCESSES_INTERVAL", "100ms")
        .start();
    let mut counted = |name: &str| -> f64 {
        let from = program.stdout.so_far().len();
        program.tell("count");
        assert_eq!(program.says_after(from, "done"), "");
        let said = program.stdout.so_far();
        let figure = said.iter().skip(from).find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        figure.unwrap_or_else(|| panic!("{what} says nothing of {name}: {said:?}"))
    };
    let limit = counted("/gc/gomemlimit:bytes");
    let is_limited = limit < i64::MAX as f64;
    for (name, label, of_runtime) in [
        ("go_goroutine_count", "", "/sched/goroutines:goroutines"),
        ("go_processor_limit", "", "/sched/gomaxprocs:threads"),
        ("go_memory_used_bytes", "go_memory_type=\"stack\"", "/memory/classes/heap/stacks:bytes"),
        ("go_memory_allocated_bytes_total", "", "/gc/heap/allocs:bytes"),
        ("go_memory_allocations_total", "", "/gc/heap/allocs:objects"),
        ("go_memory_gc_cycles_total", "", "/gc/cycles/total:gc-cycles"),
        ("go_memory_gc_goal_bytes", "", "/gc/heap/goal:bytes"),
        ("go_memory_gc_pause_duration_seconds_count", "", "/gc/pauses:seconds"),
    ] {
        poll(&format!("{what}: {name} is {of_runtime}"), || {
            (figure(&agent, name, pid, label) == counted(of_runtime)).then_some(())
        });
    }
    poll(&format!("{what}: what is used"), || {
        let told = ["stack", "other"]
            .map(|of| figure(&agent, "go_memory_used_bytes", pid, &format!("go_memory_type=\"{of}\"")));
        let [all, released] = ["total", "heap/released"].map(|of| counted(&format!("/memory/classes/{of}:bytes")));
        (told[0] + told[1] == all - released).then_some(())
    });
    let pauses = figure(&agent, "go_memory_gc_pause_duration_seconds_sum", pid, "");
    assert!((1e-7..10.0).contains(&pauses), "{what}: {pauses}");
    // No limit is told where there is none.
    assert_eq!(figure(&agent, "go_memory_limit_bytes", pid, ""), if is_limited { limit } else { 0.0 }, "{what}");
    let growth = counted("/gc/gogc:percent");
    let is_off = growth > f64::from(u32::MAX);
    assert_eq!(figure(&agent, "go_config_gogc_percent", pid, ""), if is_off { 0.0 } else { growth }, "{what}");
}

fn go_is_told_of_as_its_runtime_counts(backend: Backend) {
    for (name, release, arguments, environment) in [
        ("as-it-comes", "local", &[][..], &[][..]),
        ("stripped", "local", &["-ldflags=-s -w", "-trimpath"], &[("GOMEMLIMIT", "200MiB"), ("GOGC", "150")]),
        (
            "pie",
            "go1.23.12",
            &["-buildmode=pie", "-ldflags=-s -w"],
            &[("GOMAXPROCS", "3"), ("GOMEMLIMIT", "48MiB"), ("GOGC", "off")],
        ),
        ("older", "go1.21.13", &[], &[]),
    ] {
        is_told_of_as_it_counts(backend, name, &mut counting(name, release, arguments, environment));
    }
}
