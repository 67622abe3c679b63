//! What was on disk when the agent was killed.

use std::{collections::HashSet, time::Duration};

use rustix::process::Signal;
use tests::{
    LONG,
    agent::{Agent, Setup},
    client::Connection,
    program::{Program, free_port},
    receiver::{FailNext, Failure, Ports, Receiver},
    wait::poll,
};

const SENT: usize = 300;
const BATCH: usize = 20;

fn kill(mut agent: Agent) {
    agent.program().signal(Signal::KILL);
    let _ended = agent.ended();
}

#[test]
fn killed_in_an_outage_and_again_while_it_catches_up_it_delivers_all_that_was_on_disk() {
    let server = Program::python("server.py", [""; 0]);
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports { grpc: free_port(), http: 0 };
    let start = || {
        Setup::pid(server.pid())
            .args(["--endpoint", &format!("http://127.0.0.1:{}", ports.grpc), "--protocol", "grpc"])
            .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &BATCH.to_string())
            .env("OTEL_METRICS_EXPORTER", "none")
            .env("BEYLA_RS_EXPORT_SPOOL_DIR", dir.path().to_str().unwrap())
            .start()
    };
    let agent = start();
    let mut connection = Connection::to(server.port());
    for _ in 0..SENT {
        assert_eq!(connection.get("/unheard").status, 200, "the target does not notice");
    }
    poll("all are on disk", || (agent.metric("beyla_rs_export_spool_spans", &[]) == SENT as f64).then_some(()));
    assert_eq!(agent.metric("beyla_rs_export_queue_bytes", &[]), 0.0);
    kill(agent);

    let receiver = Receiver::start_on(ports, None);
    let failure = Failure::Slow { by: Duration::from_millis(50) };
    receiver.respond_with(FailNext { requests: usize::MAX, failure });
    let agent = start();
    receiver.wait_for(|state| state.spans.len() >= SENT / 3, LONG).unwrap();
    kill(agent);

    receiver.recover();
    let agent = start();
    let distinct = |spans: &[tests::receiver::ReceivedSpan]| {
        spans.iter().map(|span| span.span_id.clone()).collect::<HashSet<_>>().len()
    };
    receiver.wait_for(|state| distinct(&state.spans) == SENT, LONG).unwrap();
    poll("nothing is left on disk", || (agent.metric("beyla_rs_export_spool_bytes", &[]) == 0.0).then_some(()));
    assert_eq!(agent.metric("beyla_rs_export_spans_total", &["outcome=\"dropped"]), 0.0);
    let log = agent.log().join("\n");
    assert!(log.contains("could not deliver are in the spool"), "{log}");
    let ended = agent.stop();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    // Only that whose answer the agent did not live to see is sent again.
    let spans = receiver.spans();
    assert!(spans.len() - SENT <= BATCH, "{} came for {SENT}", spans.len());
    assert_eq!(receiver.state().violations, Vec::<String>::new());
}
