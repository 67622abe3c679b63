//! What an exchange's end means for its span: `error.type`, `beyla.outcome`, status.
//!
//! | outcome | `beyla.outcome` = `error.type` | status of a client span | of a server span |
//! | --- | --- | --- | --- |
//! | complete | – | by the response's status | by the response's status |
//! | no response | `no_response` | ERROR | ERROR where the server is known to have ended the connection first, else by the status seen |
//! | cut | `cut` | ERROR | as above |
//! | cancelled | `cancelled` | ERROR | ERROR if the server cancelled it, else by the status seen |
//! | reset | `reset`; `error.type` is the code: `INTERNAL_ERROR` | ERROR | ERROR if the server gave it up, else by the status seen |
//! | unseen | `unseen`, no `error.type` | by the status seen, else unset | as above |
//!
//! There is an `error.type` exactly where the status is ERROR, so that all who count failures count the same. A server is at fault only for
//! what it is known to have broken off: a client that hangs up, a network that is down and an end of which nobody knows whose it was are
//! no failures of it. Where the response's status is an error, `error.type` is that status.

use super::red::Label;
use crate::model::{
    exchange::Outcome,
    net::Role,
    span::{Status, Value},
};

/// The outcome's word, for attributes and counters.
pub(super) const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Complete => "complete",
        Outcome::NoResponse | Outcome::ServerLeft { is_answered: false } => "no_response",
        Outcome::Cut | Outcome::ServerLeft { is_answered: true } => "cut",
        Outcome::Cancelled(..) => "cancelled",
        Outcome::Reset(..) => "reset",
        Outcome::Unseen => "unseen",
    }
}

/// Codes with which streams of HTTP/2 are reset (RFC 9113, section 7).
const CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// What is wrong with an exchange that ended so.
fn error_of(outcome: Outcome) -> Error {
    match outcome {
        Outcome::Reset(_, code) => Error::Word(CODES.get(code as usize).copied().unwrap_or("_OTHER")),
        outcome => Error::Word(word(outcome)),
    }
}

/// `error.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Error {
    /// A word.
    Word(&'static str),
    /// A status, in decimal.
    Digits(u32),
}

impl Error {
    pub(super) fn to_value(self) -> Value {
        match self {
            Self::Word(word) => Value::Static(word),
            Self::Digits(status) => Value::Str(decimal(status)),
        }
    }

    pub(super) const fn to_label(self) -> Label<'static> {
        match self {
            Self::Word(word) => Label::Str(word),
            Self::Digits(status) => Label::Digits(status),
        }
    }
}

/// Status and `error.type` of a span, given what its response's status says.
pub(super) fn evaluate(outcome: Outcome, role: Role, response: Option<Error>) -> (Status, Option<Error>) {
    match (response, outcome, role) {
        (Some(error), _, _) => (Status::Error, Some(error)),
        (None, Outcome::Complete | Outcome::Unseen, _) => (Status::Unset, None),
        (None, _, Role::Client)
        | (
            None,
            Outcome::ServerLeft { .. } | Outcome::Reset(Role::Server, _) | Outcome::Cancelled(Role::Server, _),
            Role::Server,
        ) => (Status::Error, Some(error_of(outcome))),
        (None, _, Role::Server) => (Status::Unset, None),
    }
}

/// Decimal digits, without the price of `fmt`.
pub(super) fn decimal(number: u32) -> compact_str::CompactString {
    let mut text = compact_str::CompactString::const_new("");
    let mut divisor = 1_000_000_000;
    while divisor > 0 {
        let digit = number / divisor % 10;
        if digit > 0 || !text.is_empty() || divisor == 1 {
            text.push(char::from(b'0' + digit as u8));
        }
        divisor /= 10;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_up_with_an_error_has_its_code_and_is_an_error_of_who_gave_it_up() {
        let of = |by, code, role| evaluate(Outcome::Reset(by, code), role, None);
        let internal = Some(Error::Word("INTERNAL_ERROR"));
        assert_eq!(of(Role::Server, 2, Role::Client), (Status::Error, internal));
        assert_eq!(of(Role::Server, 2, Role::Server), (Status::Error, internal));
        assert_eq!(of(Role::Client, 2, Role::Server), (Status::Unset, None));
        assert_eq!(of(Role::Client, 99, Role::Client).1, Some(Error::Word("_OTHER")));
    }

    #[test]
    fn there_is_an_error_type_exactly_where_the_status_is_error() {
        let ends = [false, true].map(|is_answered| Outcome::ServerLeft { is_answered });
        let by = [Role::Client, Role::Server].map(|by| [Outcome::Cancelled(by, 8), Outcome::Reset(by, 2)]);
        let plain = [Outcome::Complete, Outcome::NoResponse, Outcome::Cut, Outcome::Unseen];
        for outcome in plain.into_iter().chain(ends).chain(by.into_iter().flatten()) {
            for role in [Role::Client, Role::Server] {
                for response in [None, Some(Error::Digits(503))] {
                    let (status, error) = evaluate(outcome, role, response);
                    assert_eq!(status == Status::Error, error.is_some(), "{outcome:?} {role:?} {response:?}");
                }
            }
        }
    }

    #[test]
    fn a_server_is_at_fault_for_what_it_is_known_to_have_broken_off() {
        let of = |outcome| evaluate(outcome, Role::Server, None).1;
        let (cut, cancelled) = (Some(Error::Word("cut")), Some(Error::Word("cancelled")));
        assert_eq!(of(Outcome::ServerLeft { is_answered: true }), cut);
        assert_eq!(of(Outcome::ServerLeft { is_answered: false }), Some(Error::Word("no_response")));
        assert_eq!(of(Outcome::Cancelled(Role::Server, 8)), cancelled);
        for outcome in [Outcome::Cut, Outcome::NoResponse, Outcome::Cancelled(Role::Client, 8)] {
            assert_eq!(of(outcome), None, "{outcome:?}");
        }
        assert_eq!(evaluate(Outcome::Cut, Role::Client, None), (Status::Error, cut));
    }

    #[test]
    fn decimals_are_written_as_the_standard_library_does() {
        for number in [0, 7, 10, 99, 200, 503, 65_535, u32::MAX] {
            assert_eq!(decimal(number), number.to_string());
        }
    }
}
