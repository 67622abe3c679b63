//! Spans as the sample's receiver lists them.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;

use super::cluster::{kubectl, wait_for};

const SPANS: &str = "/api/v1/namespaces/observability/services/otel-collector:4318/proxy/spans";

/// OTLP's numbers of span kinds.
pub(super) const SERVER: &str = "2";
pub(super) const CLIENT: &str = "3";

/// A span and its resource, flat.
pub(super) struct Span(BTreeMap<String, String>);

impl Span {
    fn parse(line: &str) -> Self {
        Self(line.split('\t').filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    pub(super) fn is(&self, kind: &str) -> bool {
        self.get("kind") == Some(kind)
    }

    /// The request's path, which is unique to one request: `/TARGET/CALLER/NUMBER`.
    pub(super) fn path(&self) -> Option<&str> {
        if let Some(path) = self.get("url.path") {
            return Some(path);
        }
        let (_, rest) = self.get("url.full")?.split_once("://")?;
        rest.find('/').and_then(|at| rest.get(at..))
    }

    /// Target, caller and number.
    pub(super) fn request(&self) -> Option<(&str, &str, usize)> {
        let mut parts = self.path()?.strip_prefix('/')?.split('/');
        Some((parts.next()?, parts.next()?, parts.next()?.parse().ok()?))
    }
}

/// All spans of requests that callers made, so far.
pub(super) fn all() -> Result<Vec<Span>> {
    let text = kubectl(&["get", "--raw", SPANS])?;
    Ok(text.lines().map(Span::parse).filter(|span| span.request().is_some()).collect())
}

/// The spans of a caller, once there are that many; what there is if there never are. Waits on to see whether more come.
pub(super) fn of_caller(caller: &str, count: usize) -> Result<Vec<Span>> {
    let mine = || -> Result<Vec<Span>> {
        Ok(all()?.into_iter().filter(|span| span.request().is_some_and(|(_, by, _)| by == caller)).collect())
    };
    wait_for(Duration::from_secs(20), || Ok((mine()?.len() >= count).then_some(())))?;
    std::thread::sleep(Duration::from_secs(2));
    mine()
}

/// Makes the receiver forget what it was sent.
pub(super) fn forget() -> Result<()> {
    kubectl(&["delete", "--raw", SPANS]).map(drop)
}
