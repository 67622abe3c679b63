//! What is lost where the agent is not given time: some requests, and never the truth about the others.

use std::collections::HashSet;

use rustix::process::Signal;
use tests::{
    agent::{Backend, Watch},
    client::Connection,
    on_both_backends,
    program::Program,
    receiver::ReceivedSpan,
    seen::path,
    wait::poll,
};

on_both_backends!(a_lost_record_costs_no_other_request_its_answer);

/// Statuses that answer one request after the other. Their number and that of the connections have no common divisor.
const STATUSES: [u16; 7] = [200, 404, 500, 403, 410, 503, 418];
const CONNECTIONS: usize = 3;
/// More than the ring can hold, by what is captured of each.
const WHILE_STOPPED: usize = 2400;
/// Requests of each connection once the agent has caught up; from the third on all is right again.
const AFTERWARDS: usize = 5;

fn a_lost_record_costs_no_other_request_its_answer(backend: Backend) {
    let server = Program::python("server.py", [""; 0]);
    let mut watch = Watch::pid(backend, server.pid());
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| Connection::to(server.port())).collect();
    let pad = format!("X-Pad: {}", "p".repeat(6000));
    let mut sent = 0;
    let mut ask = |count: usize, name: &str, headers: &[&str]| {
        for nth in 0..count {
            let status = STATUSES[nth % STATUSES.len()];
            let target = format!("/status/{name}/{nth}/{status}");
            assert_eq!(connections[nth % CONNECTIONS].request("GET", &target, headers, b"").status, status);
            sent += 1;
        }
    };
    ask(21, "before", &[]);
    watch.agent.program().signal(Signal::STOP);
    ask(WHILE_STOPPED, "stopped", &[&pad]);
    watch.agent.program().signal(Signal::CONT);
    let mut events = -1.0;
    poll("the agent has emptied the ring", || {
        let now = watch.agent.metric("beyla_rs_capture_events_total", &[]);
        (std::mem::replace(&mut events, now) == now).then_some(())
    });
    ask(AFTERWARDS * CONNECTIONS, "after", &[]);
    let last = format!("/status/after/{}/", AFTERWARDS * CONNECTIONS - 1);
    let is_last = |span: &ReceivedSpan| path(span).is_some_and(|path| path.starts_with(&last));
    watch.receiver.wait_for(|state| state.spans.iter().any(is_last), tests::LONG).unwrap();
    let lost = poll("the losses are counted", || {
        let told = ids(&watch.receiver.state().spans).len();
        let lost = watch.agent.metric("beyla_rs_requests_lost_total", &[]) as usize;
        let records = watch.agent.metric("beyla_rs_capture_lost_total", &[]);
        (records > 0.0 && sent - told <= lost).then_some((lost, sent - told))
    });
    let seen = watch.stop_when(|_| true);
    println!("{} of {sent} told; not told: {}, at most {} by the metric", seen.spans.len(), lost.1, lost.0);
    assert!(lost.1 > 100, "the ring was not full");
    assert!(lost.0 <= 2 * lost.1 + 20, "the bound is of no use: {lost:?}");
    // A batch that was on its way when the agent was stopped may have come twice.
    let mut right = HashSet::new();
    for span in &seen.spans {
        let path = path(span).unwrap();
        let Some(status) = span.attributes.get("http.response.status_code") else {
            assert_eq!(span.attributes["beyla.outcome"], "unseen", "{path}");
            continue;
        };
        assert!(path.ends_with(&format!("/{status}")), "another request's status: {path} {status}");
        right.insert(path);
    }
    for nth in 2 * CONNECTIONS..AFTERWARDS * CONNECTIONS {
        let target = format!("/status/after/{nth}/{}", STATUSES[nth % STATUSES.len()]);
        assert!(right.contains(&*target), "{target} is not right again");
    }
    assert_eq!(seen.count("http.server.request.duration"), right.len() as u64);
}

fn ids(spans: &[ReceivedSpan]) -> HashSet<&str> {
    spans.iter().map(|span| &*span.span_id).collect()
}
