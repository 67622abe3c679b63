//! Benchmarks of brokers.

use tests::need;
use tests::receiver::ReceivedSpan;
use tests::seen::Seen;
use tests::servers::{kafka as log, mosquitto as mqtt, nats as subjects, rabbitmq as rabbit};

use crate::bed::{Bed, Setting};
use crate::report::{Counts, Side};

/// Messages of one end by what was done with them; of all destinations where none is named.
fn told<'a>(spans: impl IntoIterator<Item = &'a ReceivedSpan>, is_broker: bool, destination: &str) -> Counts {
    let mut counts = Counts::new();
    for span in spans {
        let text = |name: &str| span.attributes.get(name).and_then(|value| value.as_str());
        let Some(step) = text("messaging.operation.type") else { continue };
        if (span.kind == "SERVER") != is_broker
            || !destination.is_empty() && text("messaging.destination.name") != Some(destination)
        {
            continue;
        }
        *counts.entry(step.to_owned()).or_default() += tests::queues::messages(&[span]);
    }
    counts
}

/// Both ends. `counted`: what was sent and what was received, as `process` or `receive`.
fn sides(bed: Bed, destination: &str, counted: &[(&str, u64)], broker_counted: &[(&str, u64)]) -> Vec<Side> {
    let as_counts = |counted: &[(&str, u64)]| -> Counts {
        counted.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    let ends = [("client", false, as_counts(counted)), ("broker", true, as_counts(broker_counted))];
    let is_told = |spans: &[ReceivedSpan]| {
        ends.iter().all(|(_, is_broker, counted)| only(told(spans, *is_broker, destination), counted) == *counted)
    };
    let (seen, losses) = bed.stop(is_told);
    let sides = ends.iter().map(|(name, is_broker, counted)| {
        let spans = only(told(&seen.spans, *is_broker, destination), counted);
        let (measured, to_be_measured) =
            if *is_broker { (0, 0) } else { (measured(&seen, destination), spans.values().sum()) };
        Side { name, counted: counted.clone(), spans, measured, to_be_measured, losses: losses.clone() }
    });
    sides.collect()
}

/// Those that are counted.
fn only(mut told: Counts, counted: &Counts) -> Counts {
    told.retain(|name, _| counted.contains_key(name));
    told
}

/// Messages by the counters of clients.
fn measured(seen: &Seen, destination: &str) -> u64 {
    let of = [("messaging.destination.name", destination)];
    let of = if destination.is_empty() { &[][..] } else { &of };
    let counters = ["messaging.client.sent.messages", "messaging.client.consumed.messages"];
    counters.iter().map(|name| seen.counted(name, of)).sum::<f64>() as u64
}

/// A class of Java, of a benchmark's own libraries.
fn java(of: &str, class: &str) -> String {
    format!("java -Xmx256m -cp '{}/*' {class}", need::made(&format!("benchmarks/{of}")).join("lib").display())
}

/// Kafka's `kafka-producer-perf-test`, then its `kafka-consumer-perf-test`. `rate`: messages in a second, or as many as go.
pub(crate) fn kafka(setting: &Setting, size: u32, rate: Option<u32>) -> Vec<Side> {
    let broker = log::Broker::start();
    let (address, count) = (format!("127.0.0.1:{}", broker.port), 5000 * setting.times);
    let mut bed = Bed::start(setting, &[broker.program.pid()]);
    let rate = rate.map_or(-1, i64::from);
    let said = bed.run(&format!(
        "{} --topic perf --num-records {count} --record-size {size} --throughput {rate} --producer-props \
         bootstrap.servers={address}",
        java("kafka", "org.apache.kafka.tools.ProducerPerformance")
    ));
    let mut sent =
        said.lines().filter_map(|line| line.split_once(" records sent, ")).filter_map(|(sent, _)| sent.parse().ok());
    let sent: u64 = sent.next_back().unwrap_or_else(|| panic!("{said}"));
    let said = bed.run(&format!(
        "{} --bootstrap-server {address} --topic perf --messages {count}",
        java("kafka", "org.apache.kafka.tools.ConsumerPerformance")
    ));
    let columns: Vec<&str> = said.lines().last().unwrap_or_default().split(", ").collect();
    let received: u64 = columns.get(4).and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{said}"));
    // What the broker gives out of its files it has never had in its memory.
    sides(bed, "perf", &[("send", sent), ("receive", received)], &[("send", sent)])
}

/// Not a benchmark: franz-go, a driver for Go, that says how many messages it has sent and received.
pub(crate) fn franz(setting: &Setting) -> Vec<Side> {
    let broker = log::Broker::start();
    let count = 500 * setting.times;
    let mut bed = Bed::start(setting, &[broker.program.pid()]);
    let program = need::made("benchmarks/franz").join("franz");
    let said = bed.run(&format!("{} 127.0.0.1:{} franz {count}", program.display(), broker.port));
    let number = |word: &str| -> u64 {
        let said = said.lines().find_map(|line| line.strip_prefix(word)?.trim().parse().ok());
        said.unwrap_or_else(|| panic!("it does not say how many messages it has {word}"))
    };
    let (sent, received) = (number("sent"), number("received"));
    sides(bed, "franz", &[("send", sent), ("receive", received)], &[("send", sent)])
}

/// RabbitMQ's `PerfTest`: one who sends, one who receives.
pub(crate) fn rabbitmq(setting: &Setting, options: &str, step: &str) -> Vec<Side> {
    let broker = rabbit::Broker::start();
    let count = 1000 * setting.times;
    let mut bed = Bed::start(setting, &[broker.program.pid()]);
    bed.run(&format!(
        "{} --uri amqp://guest:guest@127.0.0.1:{} --producers 1 --consumers 1 --queue perf --routing-key perf \
         --pmessages {count} --cmessages {count} {options}",
        java("rabbitmq", "com.rabbitmq.perf.PerfTest"),
        broker.port
    ));
    let counted = [("send", count), (step, count)];
    sides(bed, "", &counted, &counted)
}

/// `mosquitto_pub` and `mosquitto_sub` in each quality of service.
pub(crate) fn mosquitto(setting: &Setting) -> Vec<Side> {
    let broker = mqtt::Broker::start(None, false);
    let (port, count) = (broker.port, 300 * setting.times);
    let mut bed = Bed::start(setting, &[broker.program.pid()]);
    let (mut sent, mut received) = (0, [0, 0]);
    // Of version 5 in the highest quality Mosquitto 2.0.11's clients themselves break their connection off.
    for (version, qualities) in [("311", 0..=2_u8), ("5", 0..=1)] {
        for quality in qualities {
            let said = bed.run(&format!(
                "stdbuf -oL mosquitto_sub -d -V {version} -p {port} -t perf -q {quality} -C {count} >sub & \
                 until grep -q Subscribed sub; do sleep 0.05; done; \
                 seq {count} | mosquitto_pub -d -V {version} -p {port} -t perf -q {quality} -l; wait; cat sub; rm sub"
            ));
            let lines = |what: &str| said.lines().filter(|line| line.contains(what)).count() as u64;
            sent += lines(" sending PUBLISH (");
            received[usize::from(quality > 0)] += lines(" received PUBLISH (");
        }
    }
    let counted = [("send", sent), ("receive", received[0]), ("process", received[1])];
    sides(bed, "perf", &counted, &counted)
}

/// `mosquitto_rr`: a question and its answer, which are messages both.
pub(crate) fn mosquitto_requests(setting: &Setting) -> Vec<Side> {
    let broker = mqtt::Broker::start(None, false);
    let (port, count) = (broker.port, 20 * setting.times);
    let mut bed = Bed::start(setting, &[broker.program.pid()]);
    // Who answers: a line for each question.
    bed.run(&format!(
        "(mosquitto_sub -V 5 -p {port} -t ask -q 1 -C {count} | while read -r it; do \
         mosquitto_pub -V 5 -p {port} -t answer -q 1 -m $it; done) & \
         sleep 1; for it in $(seq {count}); do mosquitto_rr -V 5 -p {port} -t ask -e answer -q 1 -W 20 -m $it || exit 1; done; wait"
    ));
    let counted = [("send", count), ("process", count)];
    sides(bed, "ask", &counted, &counted)
}

fn nats_command(server: &subjects::Server) -> String {
    let [user, password] = subjects::USER;
    let tool = need::made("benchmarks/go").join("nats");
    format!("{} --server nats://{user}:{password}@127.0.0.1:{}", tool.display(), server.port)
}

/// `nats bench`: one who publishes, one who has subscribed.
pub(crate) fn nats(setting: &Setting, options: &str) -> Vec<Side> {
    let server = subjects::Server::start(false);
    let (nats, count) = (nats_command(&server), 1000 * setting.times);
    let mut bed = Bed::start(setting, &[server.program.pid()]);
    bed.run(&format!(
        "{nats} bench sub perf --msgs {count} --no-progress >sub & sleep 2; \
         {nats} bench pub perf --msgs {count} --size 128 --no-progress {options}; wait; cat sub"
    ));
    let counted = [("send", count), ("receive", count)];
    sides(bed, "perf", &counted, &counted)
}

/// `nats bench service`: requests and their answers.
pub(crate) fn nats_requests(setting: &Setting) -> Vec<Side> {
    let server = subjects::Server::start(false);
    let (nats, count) = (nats_command(&server), 500 * setting.times);
    let mut bed = Bed::start(setting, &[server.program.pid()]);
    bed.run(&format!(
        "{nats} bench service serve perf --size 128 --no-progress >serve & serving=$!; sleep 2; \
         {nats} bench service request perf --msgs {count} --size 128 --no-progress; kill $serving; wait $serving; true"
    ));
    let counted = [("send", count), ("receive", count)];
    sides(bed, "perf", &counted, &counted)
}

/// `nats bench js`: what JetStream stores, and hands out.
pub(crate) fn nats_jetstream(setting: &Setting) -> Vec<Side> {
    let server = subjects::Server::start(false);
    let (nats, count) = (nats_command(&server), 500 * setting.times);
    let mut bed = Bed::start(setting, &[server.program.pid()]);
    bed.run(&format!("{nats} bench js pub sync perf --create --msgs {count} --size 128 --no-progress"));
    bed.run(&format!("{nats} bench js consume --stream benchstream --msgs {count} --no-progress"));
    let counted = [("send", count), ("process", count)];
    sides(bed, "perf", &counted, &counted)
}
