//! SOAP 1.1 and 1.2 over HTTP: which operation is asked for, as the head says.

use compact_str::CompactString;

use super::{
    is_post,
    marks::{Kind, Marks},
};
use crate::model::exchange::Http;

/// The operation; `None` where the head names none, as it need not.
pub(super) fn method(http: &Http, marks: &Marks) -> Option<CompactString> {
    let is_soap = is_post(http) && matches!(marks.kind, Kind::Xml | Kind::Soap);
    marks.action.clone().filter(|_| is_soap)
}
