//! Every instrument that exchanges are measured with, in one table.

use super::{red::Family, semconv};
use crate::{
    config::Features,
    model::{exchange::Group, net::Role},
};

/// Bounds for durations in seconds, as the conventions of HTTP, RPC and messaging advise.
pub(super) const DURATION_BOUNDS_S: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Those for calls to databases.
const DB_DURATION_BOUNDS_S: &[f64] = &[0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];

/// Bounds for body sizes in bytes: none, what fits a packet or a page, then powers of four up to 16 MiB.
pub(super) const SIZE_BOUNDS_BYTES: &[f64] =
    &[0.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0, 1_048_576.0, 4_194_304.0, 16_777_216.0];

/// What is measured of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measure {
    /// How long it took, in s.
    Duration,
    /// Bytes of the request's body.
    RequestSize,
    /// Bytes of the response's body.
    ResponseSize,
    /// Whether it is open.
    Active,
    /// That there was one.
    Calls,
    /// That it failed.
    Failed,
    /// Bytes of the request's body, summed up.
    RequestBytes,
    /// Bytes of the response's body, summed up.
    ResponseBytes,
    /// Messages that were sent.
    Sent,
    /// Messages that were received.
    Received,
}

impl Measure {
    /// Those that go into histograms.
    pub(super) const HISTOGRAMS: [Self; 3] = [Self::Duration, Self::RequestSize, Self::ResponseSize];

    /// Those that go into counters.
    pub(super) const COUNTERS: [Self; 6] =
        [Self::Calls, Self::Failed, Self::RequestBytes, Self::ResponseBytes, Self::Sent, Self::Received];

    /// Whether messages are counted.
    pub(super) const fn is_of_messages(self) -> bool {
        matches!(self, Self::Sent | Self::Received)
    }
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Instrument {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) description: &'static str,
    /// What it measures of.
    pub(super) family: Family,
    pub(super) measure: Measure,
    /// It is there where one of these is asked for.
    pub(super) features: Features,
    /// Upper bounds of its buckets; none where it is no histogram.
    pub(super) bounds: &'static [f64],
}

const fn instrument(name: &'static str, description: &'static str, family: Family, measure: Measure) -> Instrument {
    let bounds: &[f64] = match (measure, family) {
        (Measure::Duration, Family::Exchange(Group::Db, _)) => DB_DURATION_BOUNDS_S,
        (Measure::Duration, _) => DURATION_BOUNDS_S,
        (Measure::RequestSize | Measure::ResponseSize, _) => SIZE_BOUNDS_BYTES,
        (Measure::Active | Measure::Calls | Measure::Failed, _) => &[],
        (Measure::RequestBytes | Measure::ResponseBytes | Measure::Sent | Measure::Received, _) => &[],
    };
    let features = match (measure, family) {
        (_, Family::Edge(_)) => Features::SERVICE_GRAPH,
        (Measure::RequestBytes | Measure::ResponseBytes, _) => Features::SPAN_SIZES,
        (_, Family::Span) => Features::SPAN,
        (Measure::RequestSize | Measure::ResponseSize, _) => Features::SIZES,
        (_, Family::Exchange(..) | Family::Process) => Features::RED,
    };
    let unit = match measure {
        // Tempo's names have no unit, and Prometheus would add it.
        _ if matches!(family, Family::Span) => "",
        Measure::Duration => "s",
        Measure::RequestSize | Measure::ResponseSize | Measure::RequestBytes | Measure::ResponseBytes => "By",
        Measure::Active => "{request}",
        Measure::Sent | Measure::Received => "{message}",
        Measure::Calls | Measure::Failed => "",
    };
    Instrument { name, unit, description, family, measure, features, bounds }
}

/// As the OpenTelemetry Collector's connector has it.
const fn otel(instrument: Instrument, unit: &'static str) -> Instrument {
    Instrument { unit, features: Features::SPAN_OTEL, ..instrument }
}

const HTTP_SERVER: Family = Family::Exchange(Group::Http, Role::Server);
const HTTP_CLIENT: Family = Family::Exchange(Group::Http, Role::Client);
const MESSAGING_CLIENT: Family = Family::Exchange(Group::Messaging, Role::Client);
/// Messages are consumed where they are asked for, and where they are dealt with.
const CONSUMED: &str = semconv::MESSAGING_CLIENT_CONSUMED_MESSAGES;

/// The table.
pub(super) static INSTRUMENTS: &[Instrument] = &[
    instrument(
        semconv::HTTP_SERVER_REQUEST_DURATION,
        "Duration of HTTP server requests.",
        HTTP_SERVER,
        Measure::Duration,
    ),
    instrument(
        semconv::HTTP_SERVER_REQUEST_BODY_SIZE,
        "Size of HTTP server request bodies.",
        HTTP_SERVER,
        Measure::RequestSize,
    ),
    instrument(
        semconv::HTTP_SERVER_RESPONSE_BODY_SIZE,
        "Size of HTTP server response bodies.",
        HTTP_SERVER,
        Measure::ResponseSize,
    ),
    instrument(
        semconv::HTTP_SERVER_ACTIVE_REQUESTS,
        "Number of active HTTP server requests.",
        HTTP_SERVER,
        Measure::Active,
    ),
    instrument(
        semconv::HTTP_CLIENT_REQUEST_DURATION,
        "Duration of HTTP client requests.",
        HTTP_CLIENT,
        Measure::Duration,
    ),
    instrument(
        semconv::HTTP_CLIENT_REQUEST_BODY_SIZE,
        "Size of HTTP client request bodies.",
        HTTP_CLIENT,
        Measure::RequestSize,
    ),
    instrument(
        semconv::HTTP_CLIENT_RESPONSE_BODY_SIZE,
        "Size of HTTP client response bodies.",
        HTTP_CLIENT,
        Measure::ResponseSize,
    ),
    instrument(
        semconv::RPC_SERVER_CALL_DURATION,
        "Duration of incoming remote procedure calls.",
        Family::Exchange(Group::Rpc, Role::Server),
        Measure::Duration,
    ),
    instrument(
        semconv::RPC_CLIENT_CALL_DURATION,
        "Duration of outgoing remote procedure calls.",
        Family::Exchange(Group::Rpc, Role::Client),
        Measure::Duration,
    ),
    instrument(
        semconv::DB_CLIENT_OPERATION_DURATION,
        "Duration of database client operations.",
        Family::Exchange(Group::Db, Role::Client),
        Measure::Duration,
    ),
    instrument(
        semconv::DB_SERVER_OPERATION_DURATION,
        "Duration of operations at a database that is watched.",
        Family::Exchange(Group::Db, Role::Server),
        Measure::Duration,
    ),
    instrument(
        semconv::MESSAGING_CLIENT_OPERATION_DURATION,
        "Duration of messaging operation initiated by a producer or consumer client.",
        MESSAGING_CLIENT,
        Measure::Duration,
    ),
    instrument(
        semconv::MESSAGING_CLIENT_SENT_MESSAGES,
        "Number of messages producer attempted to send to the broker.",
        MESSAGING_CLIENT,
        Measure::Sent,
    ),
    instrument(
        CONSUMED,
        "Number of messages that were delivered to the application.",
        MESSAGING_CLIENT,
        Measure::Received,
    ),
    instrument(
        CONSUMED,
        "Number of messages that were delivered to the application.",
        Family::Process,
        Measure::Received,
    ),
    instrument(
        semconv::MESSAGING_PROCESS_DURATION,
        "Duration of processing operation.",
        Family::Process,
        Measure::Duration,
    ),
    instrument(
        semconv::DNS_LOOKUP_DURATION,
        "Measures the time taken to perform a DNS lookup.",
        Family::Exchange(Group::Dns, Role::Client),
        Measure::Duration,
    ),
    instrument(GRAPH_TOTAL, "Requests between two services.", Family::Edge(Role::Client), Measure::Calls),
    instrument(GRAPH_TOTAL, "Requests between two services.", Family::Edge(Role::Server), Measure::Calls),
    instrument(GRAPH_FAILED, "Requests between two services that failed.", Family::Edge(Role::Client), Measure::Failed),
    instrument(GRAPH_FAILED, "Requests between two services that failed.", Family::Edge(Role::Server), Measure::Failed),
    instrument(
        "traces_service_graph_request_client",
        "Time of requests between two services, as the client sees it.",
        Family::Edge(Role::Client),
        Measure::Duration,
    ),
    instrument(
        "traces_service_graph_request_server",
        "Time of requests between two services, as the server sees it.",
        Family::Edge(Role::Server),
        Measure::Duration,
    ),
    instrument("traces_spanmetrics_calls_total", "Spans.", Family::Span, Measure::Calls),
    instrument("traces_spanmetrics_latency", "Duration of spans, in seconds.", Family::Span, Measure::Duration),
    otel(instrument("traces.span.metrics.calls", "Spans.", Family::Span, Measure::Calls), ""),
    otel(instrument("traces.span.metrics.duration", "Duration of spans.", Family::Span, Measure::Duration), "s"),
    instrument(
        "traces_spanmetrics_size_total",
        "Bytes of the bodies of requests, by span.",
        Family::Span,
        Measure::RequestBytes,
    ),
    instrument(
        "traces_spanmetrics_response_size_total",
        "Bytes of the bodies of responses, by span.",
        Family::Span,
        Measure::ResponseBytes,
    ),
];

const GRAPH_TOTAL: &str = "traces_service_graph_request_total";
const GRAPH_FAILED: &str = "traces_service_graph_request_failed_total";

/// The instruments for a measure of a family.
pub(super) fn all(family: Family, measure: Measure) -> impl Iterator<Item = &'static Instrument> {
    INSTRUMENTS.iter().filter(move |it| it.family == family && it.measure == measure)
}

/// The first of them, if there is one.
pub(super) fn find(family: Family, measure: Measure) -> Option<&'static Instrument> {
    all(family, measure).next()
}

/// Names of what is counted with a histogram of a family (by its place in [`Measure::HISTOGRAMS`]): of one series.
pub(super) fn names(family: Family, place: usize) -> impl Iterator<Item = &'static str> {
    let measures: &[Measure] = match place {
        0 => &[Measure::Duration, Measure::Calls, Measure::Failed],
        1 => &[Measure::RequestSize, Measure::RequestBytes],
        _ => &[Measure::ResponseSize, Measure::ResponseBytes],
    };
    measures.iter().flat_map(move |measure| all(family, *measure)).map(|it| it.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_but_for_the_two_sides_of_an_edge_and_so_is_what_is_measured() {
        for (at, one) in INSTRUMENTS.iter().enumerate() {
            for other in INSTRUMENTS.get(at + 1..).unwrap() {
                let are_sides = matches!((one.family, other.family), (Family::Edge(a), Family::Edge(b)) if a != b);
                let is_of_both = one.name == CONSUMED && one.family != other.family;
                assert!(one.name != other.name || are_sides || is_of_both, "{}", one.name);
                let measured = |it: &Instrument| (it.family, it.measure, it.features);
                assert_ne!(measured(one), measured(other));
            }
        }
    }

    #[test]
    fn bounds_ascend_and_every_histogram_has_some() {
        for instrument in INSTRUMENTS {
            assert!(instrument.bounds.is_sorted_by(|a, b| a < b), "{}", instrument.name);
            let is_histogram = Measure::HISTOGRAMS.contains(&instrument.measure);
            assert_eq!(instrument.bounds.is_empty(), !is_histogram, "{}", instrument.name);
        }
    }
}
