//! An hour's outage in some seconds, of each kind that there is: what was sent is what arrived and what was counted as
//! dropped, exactly. With a spool nothing is dropped.

use beyla_rs::internals::export::SpoolConfig;
use tests::flaky::{self, Flaky};

use super::*;

/// Of the hour.
const SECONDS: u64 = 3600;
/// Spans of each.
const EACH: u64 = 4;
const SPANS: u64 = SECONDS * EACH;
/// What a receiver rejects of each request, where it does.
const REJECTED: usize = 3;

/// What is wrong with the receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    /// Nobody listens.
    Refused,
    /// It takes requests and does not answer.
    Hanging,
    /// It answers late, but within the time that a request may take.
    Slow,
    /// Connections are reset.
    Resetting,
    /// It has too much to do.
    Throttled,
    /// It takes requests in part.
    Partial,
    /// Its certificate is of an authority that is not trusted.
    WrongAuthority,
    /// Its answers are cut off.
    Truncated,
    /// Ours has expired.
    ExpiredCertificate,
}

/// A receiver in an outage.
struct Bed {
    outage: Outage,
    receiver: Option<Receiver>,
    flaky: Option<Flaky>,
    ports: Ports,
    authority: Authority,
    folder: tempfile::TempDir,
}

impl Bed {
    fn new(outage: Outage, protocol: &str) -> Self {
        let authority = Authority::new();
        let all = |failure| FailNext { requests: usize::MAX, failure };
        let mut bed = Self {
            outage,
            receiver: None,
            flaky: None,
            ports: Ports::default(),
            authority,
            folder: tempfile::tempdir().unwrap(),
        };
        let receiver = match outage {
            Outage::Refused => {
                bed.ports = free_ports();
                return bed;
            }
            Outage::WrongAuthority => {
                bed.write_certificate(&bed.authority.issue());
                Receiver::start_on(Ports::default(), Some(Authority::new().tls()))
            }
            Outage::ExpiredCertificate => {
                bed.write_certificate(&bed.authority.issue_until(Some((2020, 1, 1))));
                Receiver::start_on(Ports::default(), Some(bed.authority.tls()))
            }
            _ => Receiver::start(),
        };
        match outage {
            Outage::Hanging => receiver.respond_with(all(Failure::Hang)),
            Outage::Slow => receiver.respond_with(all(Failure::Slow { by: Duration::from_millis(300) })),
            Outage::Throttled => receiver.respond_with(all(Failure::Throttled { retry_after: Duration::ZERO })),
            Outage::Partial => {
                receiver.respond_with(all(Failure::Partial { rejected: REJECTED, message: "too old".to_owned() }));
            }
            Outage::Resetting | Outage::Truncated => {
                let fault = if outage == Outage::Resetting { flaky::Fault::Reset } else { flaky::Fault::Truncate };
                bed.flaky = Some(Flaky::start(receiver.port(protocol), fault));
            }
            _ => {}
        }
        bed.ports = receiver.ports();
        bed.receiver = Some(receiver);
        bed
    }

    /// All three files are there before the agent starts, and are replaced as a certificate manager does.
    fn write_certificate(&self, (certificate, key): &(rcgen::Certificate, rcgen::KeyPair)) {
        for (name, text) in [
            ("ca.pem", self.authority.certificate.pem()),
            ("client.pem", certificate.pem()),
            ("client.key", key.serialize_pem()),
        ] {
            let new = self.folder.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, self.folder.path().join(name)).unwrap();
        }
    }

    fn config(&self, protocol: &str) -> ExportConfig {
        let is_tls = matches!(self.outage, Outage::WrongAuthority | Outage::ExpiredCertificate);
        let of_protocol = if protocol == "grpc" { self.ports.grpc } else { self.ports.http };
        let port = self.flaky.as_ref().map_or(of_protocol, Flaky::port);
        let endpoint = format!("{}://127.0.0.1:{port}", if is_tls { "https" } else { "http" });
        let file = |name: &str| self.folder.path().join(name).to_str().unwrap().to_owned();
        let files = [file("ca.pem"), file("client.pem"), file("client.key")];
        // On a busy machine a receiver that is well takes its time too.
        let timeout = if self.outage == Outage::Hanging { "400" } else { "10000" };
        let mut variables = vec![("OTEL_EXPORTER_OTLP_TIMEOUT", timeout)];
        if is_tls {
            variables.extend([
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", files[0].as_str()),
                ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", files[1].as_str()),
                ("OTEL_EXPORTER_OTLP_CLIENT_KEY", files[2].as_str()),
            ]);
        }
        let mut config = config_to(&endpoint, protocol, &variables);
        config.metrics.clear();
        config.batch.max_batch_spans = 200;
        config.batch.max_queue_bytes = 256 << 10;
        config
    }

    /// The receiver is well from now on.
    fn end(&mut self) {
        match self.outage {
            Outage::Refused => self.receiver = Some(Receiver::start_on(self.ports, None)),
            Outage::WrongAuthority => {
                let ports = self.receiver.take().unwrap().stop();
                self.receiver = Some(Receiver::start_on(ports, Some(self.authority.tls())));
            }
            Outage::ExpiredCertificate => self.write_certificate(&self.authority.issue()),
            Outage::Resetting | Outage::Truncated => self.flaky.as_ref().unwrap().set(flaky::Fault::None),
            _ => self.receiver.as_ref().unwrap().recover(),
        }
    }

    /// Distinct spans that came, and how often one came again.
    fn arrived(&self) -> (u64, u64) {
        let spans = self.receiver.as_ref().unwrap().spans();
        let distinct: HashSet<_> = spans.iter().map(|span| &span.span_id).collect();
        (distinct.len() as u64, (spans.len() - distinct.len()) as u64)
    }
}

fn all_is_accounted_for(outage: Outage, protocol: &str, has_spool: bool) {
    let what = format!("{outage:?} over {protocol}, spool: {has_spool}");
    let mut bed = Bed::new(outage, protocol);
    let mut config = bed.config(protocol);
    let dir = tempfile::tempdir().unwrap();
    config.spool = has_spool.then(|| SpoolConfig { dir: dir.path().to_owned(), max_bytes: 64 << 20 });
    let stage = Stage::start(&config, vec![]);
    let service = resource("a", 1);
    for second in 0..SECONDS {
        stage.exporters.push(spans(second * EACH + 1..=second * EACH + EACH, &service));
        let ledger = stage.spans();
        assert_balanced(&ledger);
        if has_spool && ledger.queued_bytes > 192 << 10 {
            // A second is long enough for the disk.
            tests::wait::poll(&what, || (stage.spans().queued_bytes < 64 << 10).then_some(()));
        }
    }
    if let Some(flaky) = &bed.flaky {
        tests::wait::poll("connections break", || (flaky.broken() >= 20).then_some(()));
    }
    bed.end();
    tests::wait::poll(&what, || (stage.spans().queued == 0).then_some(()));
    // And all is as it was.
    stage.exporters.push(spans(SPANS + 1..=SPANS + 10, &service));
    tests::wait::poll(&what, || (stage.spans().queued == 0).then_some(()));
    let ledger = stage.shutdown(LONG).spans.unwrap();
    assert_balanced(&ledger);
    let (arrived, twice) = bed.arrived();
    let (sent, rejected) = (ledger.count(Fate::Sent), ledger.count(Fate::Rejected));
    assert_eq!((ledger.pushed, ledger.queued), (SPANS + 10, 0), "{what}");
    assert_eq!(arrived, sent, "{what}: {ledger:?}");
    let dropped = ledger.count(Fate::DroppedQueueFull);
    assert_eq!(arrived + rejected + dropped, SPANS + 10, "{what}: for no other reason: {ledger:?}");
    // Where no answer was seen it has to be sent again.
    let may_come_twice = matches!(outage, Outage::Hanging | Outage::Truncated);
    assert!(twice == 0 || may_come_twice, "{what}: {twice} came twice");
    assert_eq!(rejected > 0, outage == Outage::Partial, "{what}: {ledger:?}");
    if has_spool {
        assert_eq!(dropped, 0, "{what}: {ledger:?}");
    } else if outage != Outage::Partial {
        assert!(dropped > 0, "{what}: {ledger:?}");
    }
    let state = bed.receiver.as_ref().unwrap().state();
    assert_eq!(state.violations, Vec::<String>::new(), "{what}");
}

macro_rules! outages {
    ($($test:ident $outage:ident,)+) => {$(
        #[test]
        fn $test() {
            for protocol in ["grpc", "http/protobuf"] {
                for has_spool in [false, true] {
                    all_is_accounted_for(Outage::$outage, protocol, has_spool);
                }
            }
        }
    )+};
}

outages! {
    nobody_listens Refused,
    it_hangs Hanging,
    it_is_slow Slow,
    connections_are_reset Resetting,
    it_has_too_much_to_do Throttled,
    it_takes_requests_in_part Partial,
    its_authority_is_not_trusted WrongAuthority,
    answers_are_cut_off Truncated,
    our_certificate_has_expired ExpiredCertificate,
}
