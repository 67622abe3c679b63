//! Every instrument that exchanges are measured with, in one table.

use super::semconv;
use crate::model::{exchange::Group, net::Role};

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
}

impl Measure {
    /// Those that go into histograms.
    pub(super) const HISTOGRAMS: [Self; 3] = [Self::Duration, Self::RequestSize, Self::ResponseSize];

    pub(super) const fn unit(self) -> &'static str {
        match self {
            Self::Duration => "s",
            Self::RequestSize | Self::ResponseSize => "By",
            Self::Active => "{request}",
        }
    }
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Instrument {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    /// Whose exchanges it measures: of which conventions, on which side.
    pub(super) group: Group,
    pub(super) role: Role,
    pub(super) measure: Measure,
    /// Upper bounds of its buckets; none where it is no histogram.
    pub(super) bounds: &'static [f64],
}

const fn instrument(
    name: &'static str,
    description: &'static str,
    (group, role): (Group, Role),
    measure: Measure,
) -> Instrument {
    let bounds: &[f64] = match (measure, group) {
        (Measure::Duration, Group::Db) => DB_DURATION_BOUNDS_S,
        (Measure::Duration, _) => DURATION_BOUNDS_S,
        (Measure::RequestSize | Measure::ResponseSize, _) => SIZE_BOUNDS_BYTES,
        (Measure::Active, _) => &[],
    };
    Instrument { name, description, group, role, measure, bounds }
}

const HTTP_SERVER: (Group, Role) = (Group::Http, Role::Server);
const HTTP_CLIENT: (Group, Role) = (Group::Http, Role::Client);

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
        (Group::Rpc, Role::Server),
        Measure::Duration,
    ),
    instrument(
        semconv::RPC_CLIENT_CALL_DURATION,
        "Duration of outgoing remote procedure calls.",
        (Group::Rpc, Role::Client),
        Measure::Duration,
    ),
    instrument(
        semconv::DB_CLIENT_OPERATION_DURATION,
        "Duration of database client operations.",
        (Group::Db, Role::Client),
        Measure::Duration,
    ),
    instrument(
        semconv::MESSAGING_CLIENT_OPERATION_DURATION,
        "Duration of messaging operation initiated by a producer or consumer client.",
        (Group::Messaging, Role::Client),
        Measure::Duration,
    ),
];

/// The instrument for a measure of such exchanges, if there is one.
pub(super) fn find(group: Group, role: Role, measure: Measure) -> Option<&'static Instrument> {
    INSTRUMENTS.iter().find(|it| it.group == group && it.role == role && it.measure == measure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_so_is_what_is_measured() {
        for (at, one) in INSTRUMENTS.iter().enumerate() {
            for other in INSTRUMENTS.get(at + 1..).unwrap() {
                assert_ne!(one.name, other.name);
                assert_ne!((one.group, one.role, one.measure), (other.group, other.role, other.measure));
            }
        }
    }

    #[test]
    fn bounds_ascend_and_every_histogram_has_some() {
        for instrument in INSTRUMENTS {
            assert!(instrument.bounds.is_sorted_by(|a, b| a < b), "{}", instrument.name);
            assert_eq!(instrument.bounds.is_empty(), instrument.measure == Measure::Active, "{}", instrument.name);
        }
    }
}
