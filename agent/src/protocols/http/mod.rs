//! What HTTP/1 and HTTP/2 have in common: which header fields matter, what they say, and how an exchange is told from that.
//! No protocol by itself.

mod context;
mod exported;
mod facts;
mod field;

#[cfg(test)]
pub(crate) use self::exported::tests::{export, message};
pub(crate) use self::{
    exported::{Message, exports_spans, kinds_of},
    facts::{Answer, Call, HeaderFacts, append, take_text, text},
    field::Field,
};
