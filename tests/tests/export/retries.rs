//! What is sent again, and what is not: OTLP's specification has a list of each protocol's.

use super::*;

/// Which of these answers make it send again what it has sent.
fn sent_again(protocol: &str, answers: &[i32]) -> Vec<i32> {
    let receiver = Receiver::start();
    let mut config = config(&receiver, protocol, &[]);
    config.metrics.clear();
    let stage = Stage::start(&config, vec![]);
    let is_sent_again = |&&answer: &&i32| {
        receiver.clear();
        let http = u16::try_from(answer).unwrap();
        receiver.respond_with(FailNext { requests: 1, failure: Failure::Refused { http, grpc: answer } });
        let before = stage.spans();
        stage.exporters.push(spans(1..=3, &resource("a", 1)));
        let after = tests::wait::poll("it has come to an end", || Some(stage.spans()).filter(|now| now.queued == 0));
        let sent = after.count(Fate::Sent) - before.count(Fate::Sent);
        let dropped = after.count(Fate::DroppedFailed) - before.count(Fate::DroppedFailed);
        let tries = receiver.state().requests.len();
        match (sent, dropped, tries) {
            (3, 0, 2) => true,
            (0, 3, 1) => false,
            _ => panic!("{protocol} {answer}: {sent} sent, {dropped} dropped in {tries} tries"),
        }
    };
    answers.iter().filter(is_sent_again).copied().collect()
}

#[test]
fn what_is_sent_again_is_what_the_specification_lists() {
    let statuses = [
        301, 400, 401, 403, 404, 405, 408, 409, 413, 415, 418, 422, 425, 429, 431, 500, 501, 502, 503, 504, 505, 507,
        511,
    ];
    for protocol in ["http/protobuf", "http/json"] {
        assert_eq!(sent_again(protocol, &statuses), [429, 502, 503, 504], "{protocol}");
    }
    // CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS; RESOURCE_EXHAUSTED says here that it cannot recover.
    let codes: Vec<i32> = (1..=16).collect();
    assert_eq!(sent_again("grpc", &codes), [1, 4, 10, 11, 14, 15]);
}
