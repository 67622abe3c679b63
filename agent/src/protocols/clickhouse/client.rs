//! What clients say: who they are, statements, data of which nothing is read.

use super::{
    REVISIONS,
    reader::{Read, Reader, Stop, holds},
};
use crate::model::{
    probability::Sampled,
    trace_context::{SpanId, TraceId, TraceParent},
};

pub(super) const HELLO: u64 = 0;
pub(super) const QUERY: u64 = 1;
pub(super) const PING: u64 = 4;

/// Revisions from which on something is said.
const QUOTA_KEY: u64 = 54_060;
const PATCH: u64 = 54_401;
const SETTINGS_AS_TEXT: u64 = 54_429;
const SECRET: u64 = 54_441;
const CONTEXT: u64 = 54_442;
const FORWARDED_FOR: u64 = 54_443;
const REFERER: u64 = 54_447;
const DEPTH: u64 = 54_448;
const START_TIME: u64 = 54_449;
const REPLICAS: u64 = 54_453;
const ADDENDUM: u64 = 54_458;
const PARAMETERS: u64 = 54_459;
const CHUNKED: u64 = 54_470;
const VERSIONED_REPLICAS: u64 = 54_471;
const ROLES: u64 = 54_472;
const LINE_NUMBERS: u64 = 54_475;
const TOKEN: u64 = 54_476;

/// What servers call themselves.
pub(super) const SERVER_NAME: &str = "ClickHouse";
/// Longest name, and most settings.
const MAX_NAME: u64 = 255;
const SETTINGS_MAX: usize = 1024;
/// Longest statement that is believed to be one.
const MAX_STATEMENT: u64 = 1 << 30;

/// Who the client is.
#[derive(Debug)]
pub(super) struct Hello<'a> {
    pub(super) revision: u64,
    pub(super) database: &'a str,
}

/// Behind the kind of the message. Who logs in with what is passed over.
pub(super) fn hello<'a>(at: &mut Reader<'a>) -> Read<Hello<'a>> {
    let revision = version(at)?;
    let database = at.text(MAX_NAME)?;
    let (_user, _password) = (at.text(MAX_NAME)?, at.bytes()?);
    Ok(Hello { revision, database })
}

/// Name, version and revision of a program.
fn version(at: &mut Reader<'_>) -> Read<u64> {
    let name = at.text(MAX_NAME)?;
    // Servers have that name alone.
    holds(name != SERVER_NAME && name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic()))?;
    let (major, _minor) = (at.number()?, at.number()?);
    holds(major < 1000)?;
    let revision = at.number()?;
    holds(REVISIONS.contains(&revision))?;
    Ok(revision)
}

/// Behind the answer to it, where both sides speak such a revision.
pub(super) fn addendum(at: &mut Reader<'_>, revision: u64) -> Read<()> {
    if revision >= ADDENDUM {
        at.text(MAX_NAME)?;
    }
    if revision >= CHUNKED {
        let [sent, received] = [at.text(32)?, at.text(32)?];
        holds(sent.ends_with("chunked") && received.ends_with("chunked"))?;
        // In chunks nothing is followed.
        holds(sent.starts_with("notchunked") && received.starts_with("notchunked"))?;
    }
    if revision >= VERSIONED_REPLICAS {
        at.number()?;
    }
    Ok(())
}

/// A statement.
#[derive(Debug)]
pub(super) struct Query<'a> {
    /// What there is of its text.
    pub(super) text: &'a [u8],
    pub(super) is_cut: bool,
    pub(super) parent: Option<TraceParent>,
    /// What it is answered with is compressed.
    pub(super) is_compressed: bool,
    /// What the client speaks.
    pub(super) revision: u64,
}

/// Behind the kind of the message. `revision`: what both sides speak, if that is known; else it is taken to be what the client does.
/// `is_all`: no more of it is to be seen.
pub(super) fn query<'a>(at: &mut Reader<'a>, revision: Option<u64>, is_all: bool) -> Read<Query<'a>> {
    let _id = at.text(MAX_NAME)?;
    let kind = at.u8()?;
    holds(kind <= 2)?;
    let (mut client, mut parent) = (revision, None);
    if kind > 0 {
        (client, parent) = of_client(at, revision)?;
    }
    let revision = revision.or(client).ok_or(Stop::No)?;
    settings(at, revision)?;
    if revision >= ROLES {
        at.bytes()?;
    }
    if revision >= SECRET {
        at.bytes()?;
    }
    let (stage, compression) = (at.number()?, at.number()?);
    holds(stage <= 10 && compression <= 1)?;
    let len = at.number()?;
    holds((1..MAX_STATEMENT).contains(&len))?;
    let (text, is_cut) = match at.take(len) {
        Ok(text) => (text, false),
        Err(Stop::More) if is_all => (at.rest(), true),
        Err(stop) => return Err(stop),
    };
    if revision >= PARAMETERS && !is_cut {
        match settings(at, revision) {
            Err(Stop::More) if is_all => {}
            read => read?,
        }
    }
    Ok(Query { text, is_cut, parent, is_compressed: compression == 1, revision })
}

/// What the client says of itself with each statement: its revision, and the context that it carries.
fn of_client(at: &mut Reader<'_>, revision: Option<u64>) -> Read<(Option<u64>, Option<TraceParent>)> {
    let (_user, _id) = (at.text(MAX_NAME)?, at.text(MAX_NAME)?);
    let address = at.text(MAX_NAME)?;
    holds(address.is_empty() || address.contains(':'))?;
    // Where the revision is not known it is said behind what depends on it: clients of today say when they begin.
    if revision.is_none_or(|revision| revision >= START_TIME) {
        at.take(8)?;
    }
    let interface = at.u8()?;
    let mut client = revision;
    match interface {
        1 => {
            let (_user, _host) = (at.text(MAX_NAME)?, at.text(MAX_NAME)?);
            let said = version(at)?;
            client = client.or(Some(said));
        }
        2 => {
            at.u8()?;
            at.bytes()?;
            for since in [FORWARDED_FOR, REFERER] {
                if client.is_none_or(|revision| revision >= since) {
                    at.bytes()?;
                }
            }
        }
        _ => return Err(Stop::No),
    }
    let known = client.ok_or(Stop::No)?;
    if known >= QUOTA_KEY {
        at.bytes()?;
    }
    if known >= DEPTH {
        at.number()?;
    }
    if known >= PATCH && interface == 1 {
        at.number()?;
    }
    let mut parent = None;
    if known >= CONTEXT {
        let has_context = at.u8()?;
        holds(has_context <= 1)?;
        if has_context == 1 {
            parent = context(at)?;
        }
    }
    if known >= REPLICAS {
        at.number()?;
        at.number()?;
        at.number()?;
    }
    if known >= LINE_NUMBERS {
        at.number()?;
        at.number()?;
    }
    if known >= TOKEN && at.u8()? == 1 {
        at.bytes()?;
    }
    Ok((client, parent))
}

/// Ids are numbers of eight bytes, the lowest first.
fn context(at: &mut Reader<'_>) -> Read<Option<TraceParent>> {
    let mut trace_id: [u8; 16] = at.array()?;
    let mut span_id: [u8; 8] = at.array()?;
    trace_id.chunks_exact_mut(8).for_each(<[u8]>::reverse);
    span_id.reverse();
    let (_state, flags) = (at.bytes()?, at.u8()?);
    let is_one = trace_id != [0; 16] && span_id != [0; 8];
    Ok(is_one.then_some(TraceParent {
        trace_id: TraceId(trace_id),
        span_id: SpanId(span_id),
        flags,
        is_deferred: false,
        sampled: Sampled::default(),
    }))
}

/// Names, flags and values, up to an empty name. Older ones have values of many kinds, which are not followed.
fn settings(at: &mut Reader<'_>, revision: u64) -> Read<()> {
    for _ in 0..SETTINGS_MAX {
        if at.text(MAX_NAME)?.is_empty() {
            return Ok(());
        }
        holds(revision >= SETTINGS_AS_TEXT)?;
        at.number()?;
        at.bytes()?;
    }
    Err(Stop::No)
}

/// Whether bytes are the beginning of a connection, or of a statement.
pub(super) fn begins(at: &mut Reader<'_>) -> Read<()> {
    match at.number()? {
        HELLO => {
            version(at)?;
            let (_database, user) = (at.text(MAX_NAME)?, at.text(MAX_NAME)?);
            holds(!user.is_empty() || at.u8()? == 0)
        }
        QUERY => {
            let id = at.text(64)?;
            holds(id.is_empty() || id.len() == 36)?;
            holds(matches!(at.u8()?, 1 | 2))?;
            of_client(at, None).map(drop)
        }
        _ => Err(Stop::No),
    }
}
