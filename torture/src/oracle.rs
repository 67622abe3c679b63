//! Compares what was told with what was asked.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::Write as _,
};

use ::tests::{
    receiver::{ReceivedMetric, ReceivedSpan, State},
    seen::path,
};
use serde_json::Value;

use crate::{
    ask::{self, Ask, Shape, Told},
    plan::{Age, ClientKind, Round, ServerKind, Trouble},
    round::{Happened, Life},
    servers::service,
};

/// What came of a round.
#[derive(Default)]
pub(crate) struct Verdict {
    /// Requests that were answered.
    pub(crate) requests: usize,
    /// Those of which the client says that they failed.
    pub(crate) unanswered: usize,
    /// Spans of them.
    pub(crate) spans: usize,
    /// Spans that had to be there, by side.
    pub(crate) strict: usize,
    /// Spans that say what is not so.
    pub(crate) wrong: Vec<String>,
    /// Requests without a span, or without a status, where nothing was counted as lost.
    pub(crate) missing: Vec<String>,
    /// The same where something was, and on connections that the agent came late to.
    pub(crate) excused: usize,
    /// Histograms that differ from the spans.
    pub(crate) histograms: Vec<String>,
    /// Requests without a span where something was lost, and how many the agents say were lost at most.
    pub(crate) untold: Option<(u64, u64)>,
    /// Counters of what was lost.
    pub(crate) lost: BTreeMap<String, u64>,
    /// Anything else.
    pub(crate) complaints: Vec<String>,
}

/// Requests that were counted, and have no span.
const UNSAMPLED: &str = "beyla_rs.spans.unsampled";

impl Verdict {
    /// Spans that exporters had no room for, and those that were not made since requests came too fast.
    fn spans_dropped(&self) -> u64 {
        let is_it = |name: &str| name.starts_with("beyla_rs.export.spans") || name.starts_with(UNSAMPLED);
        self.lost.iter().filter(|(name, _)| is_it(name)).map(|(_, count)| count).sum()
    }

    pub(crate) fn is_good(&self) -> bool {
        self.wrong.is_empty() && self.missing.is_empty() && self.histograms.is_empty() && self.complaints.is_empty()
    }
}

/// The number of the request that a span tells of.
pub(crate) fn number_of(span: &ReceivedSpan) -> Option<u64> {
    if let Some(method) = text(span, "rpc.method") {
        return ask::number(method);
    }
    let query = text(span, "url.query").or_else(|| text(span, "url.full")?.split_once('?').map(|(_, query)| query));
    match query {
        Some(query) => query.strip_prefix("n=")?.parse().ok(),
        None => ask::number(path(span)?),
    }
}

fn text<'a>(span: &'a ReceivedSpan, key: &str) -> Option<&'a str> {
    span.attributes.get(key).and_then(Value::as_str)
}

fn integer(span: &ReceivedSpan, key: &str) -> Option<u64> {
    span.attributes.get(key).and_then(Value::as_u64)
}

fn is_unseen(span: &ReceivedSpan) -> bool {
    text(span, "beyla.outcome") == Some("unseen")
}

fn is_without_response(span: &ReceivedSpan) -> bool {
    text(span, "beyla.outcome") == Some("no_response")
}

/// The attribute of a code of gRPC.
const CODE: &str = "rpc.status_code";

/// Status of HTTP, or code of gRPC.
fn status(span: &ReceivedSpan) -> Option<u64> {
    let Some(code) = text(span, CODE) else {
        return integer(span, "http.response.status_code").filter(|_| !is_call(span));
    };
    let known = ["OK", "", "", "", "", "NOT_FOUND", "", "PERMISSION_DENIED", "", "", "", "", "", "INTERNAL"];
    known.iter().position(|name| !name.is_empty() && *name == code).map(|at| at as u64).or(Some(u64::MAX))
}

fn is_call(span: &ReceivedSpan) -> bool {
    span.attributes.contains_key("rpc.system.name")
}

/// An end of the connections.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Party {
    Server,
    Client,
}

/// What a span can be of a request: whose, and of which kind.
type Part = (Party, &'static str);

/// What a proxy asks of the server behind it.
const PROXYS_CALL: Part = (Party::Server, "CLIENT");

/// The parts that there are in a round where all is seen, with the port of each one's peer; `None`: the client's own.
fn parts(happened: &Happened) -> Vec<(Part, Option<u16>)> {
    let mut parts = vec![((Party::Server, "SERVER"), None), ((Party::Client, "CLIENT"), Some(happened.port))];
    parts.extend(happened.behind.map(|port| (PROXYS_CALL, Some(port))));
    parts
}

/// Whose a resource is.
struct Whose<'a>(&'a Happened);

impl Whose<'_> {
    /// Whether it is of the server behind the proxy.
    fn is_behind(&self, resource: &BTreeMap<String, Value>) -> bool {
        let name = resource.get("service.name").and_then(Value::as_str);
        self.0.behind.is_some() && name == Some(service("behind").as_str())
    }

    /// Which of the two this resource is.
    fn party(&self, resource: &BTreeMap<String, Value>) -> Option<Party> {
        let name = resource.get("service.name").and_then(Value::as_str).unwrap_or_default();
        let pid = resource.get("process.pid").and_then(Value::as_u64).and_then(|pid| u32::try_from(pid).ok());
        let has = |pids: &[u32]| pid.is_some_and(|pid| pids.contains(&pid));
        if name == self.0.server_service || has(&self.0.server_pids) {
            Some(Party::Server)
        } else if name == self.0.client_service || has(&self.0.client_pids) {
            Some(Party::Client)
        } else {
            None
        }
    }
}

/// Compares.
pub(crate) fn judge(round: &Round, happened: &Happened) -> Verdict {
    let mut verdict = Verdict { complaints: happened.complaints.clone(), ..Verdict::default() };
    let asks: HashMap<u64, &Ask> = happened.asks.iter().map(|ask| (ask.number, ask)).collect();
    let told: HashMap<u64, &Told> = happened.told.iter().map(|told| (told.number, told)).collect();
    verdict.requests = happened.told.iter().filter(|told| told.status.is_some()).count();
    for one in &happened.told {
        let ask = asks[&one.number];
        let is_own_page = ask.by_query && ask.answer.status == 404;
        let has_body = is_own_page || ask.is_call || one.bytes == ask.answer.bytes || drops_bytes(round, ask, one);
        let as_asked = one.status == Some(ask.answer.status) && has_body;
        let is_the_proxys = is_the_proxys(round, ask, one);
        verdict.unanswered += usize::from(one.error.is_some() || is_the_proxys);
        if one.status.is_some() && !as_asked && !is_the_proxys && verdict.complaints.len() < 5 {
            verdict.complaints.push(format!("not answered as asked: {} {} {one:?}", ask.method, ask.target()));
        }
    }
    if verdict.unanswered > happened.told.len() / 20 || !verdict.complaints.is_empty() && verdict.unanswered > 0 {
        let why: BTreeSet<_> = happened.told.iter().filter_map(|told| told.error.as_ref()).take(5).collect();
        verdict.complaints.push(format!("{} requests failed: {why:?}", verdict.unanswered));
    }
    let whose = Whose(happened);
    let parts = parts(happened);
    let mut found: HashMap<(Part, u64), Vec<(usize, &ReceivedSpan)>> = HashMap::new();
    for life in &happened.lives {
        count_lost(life, &mut verdict.lost);
    }
    let had_loss = verdict.lost.values().any(|count| *count > 0);
    for (life_number, life) in happened.lives.iter().enumerate() {
        if !life.is_well {
            verdict.complaints.push("the agent ended badly".to_owned());
        }
        verdict.complaints.extend(life.state.violations.iter().take(5).map(|what| format!("violation: {what}")));
        for span in &life.state.spans {
            let Some(party) = whose.party(&span.resource) else {
                let is_of_round = number_of(span).is_some_and(|number| asks.contains_key(&number));
                if is_of_round && !whose.is_behind(&span.resource) {
                    verdict.wrong.push(format!("of a service that there is not, {:?}: {}", span.resource, row(span)));
                }
                continue;
            };
            verdict.spans += 1;
            let ask = number_of(span).and_then(|number| asks.get(&number).copied());
            match ask {
                None if text(span, "url.path").is_none() && text(span, "url.full").is_none() => {
                    // Of a name that the agent could not know.
                    if span.attributes.get("beyla.name.unknown") != Some(&Value::Bool(true)) && !is_unseen(span) {
                        verdict.wrong.push(format!("no name, and nothing says why: {}", row(span)));
                    }
                }
                // The rest of its target was lost, and it says so.
                None if had_loss && is_cut_target(span, &happened.asks) => {}
                None => verdict.wrong.push(format!("never asked: {}", row(span))),
                Some(ask) => {
                    let told = told.get(&ask.number).copied();
                    let Some((part, peer)) = parts.iter().find(|(part, _)| *part == (party, span.kind)).copied() else {
                        verdict.wrong.push(format!("of the wrong kind: {}", row(span)));
                        continue;
                    };
                    let wrong = compare(round, had_loss, (part, peer), span, ask, told);
                    if !wrong.is_empty() {
                        verdict.wrong.push(format!("{}: {}", wrong.join(", "), row(span)));
                    }
                    found.entry((part, ask.number)).or_default().push((life_number, span));
                }
            }
        }
        let has_dropped_spans = figures(&life.state, "beyla_rs.export.spans")
            .iter()
            .any(|(labels, count)| labels.contains("dropped") && *count > 0.0);
        let has_unsampled = figures(&life.state, UNSAMPLED).iter().any(|(_, count)| *count > 0.0);
        if !has_dropped_spans && !has_unsampled {
            histograms(&life.state, &whose, &mut verdict.histograms);
        }
    }
    for ((_, number), spans) in &mut found {
        // What it was asked first is told too.
        if told.get(number).is_some_and(|told| told.again) && spans.len() > 1 {
            spans.retain(|(_, span)| !is_without_response(span));
        }
    }
    for spans in found.values().filter(|spans| !spans.is_empty()) {
        let lives: BTreeSet<_> = spans.iter().map(|(life, _)| life).collect();
        if spans.len() > lives.len() || spans.iter().filter(|(_, span)| !is_unseen(span)).count() > 1 {
            verdict.wrong.push(format!("{} times: {}", spans.len(), row(spans[0].1)));
        }
    }
    let mut without_span = Vec::new();
    for life in &happened.lives {
        // It says so itself, where the machine is so busy that its libraries do not get their probes in time.
        let lacks_probes =
            round.wire.is_tls() && life.log.iter().any(|line| line.contains("are still being looked for"));
        for Strict { one, nth, is_behind_long, may_be_hidden } in strict(round, happened, life, &asks) {
            let ask = asks[&one.number];
            for (part, _) in &parts {
                let left = leave(round, part.0).saturating_add(if is_behind_long { FOLLOWED_AFTER } else { 0 });
                // The agent has to see what there is before it can say that frames are to be followed.
                let is_early = is_behind_long && one.start < life.ready + FOUND_WITHIN_NS;
                if nth.is_some_and(|nth| nth < left || is_early) {
                    continue;
                }
                let is_watched = match part.0 {
                    Party::Server => round.side.has_server() && (round.server.tls_is_seen() || !round.wire.is_tls()),
                    Party::Client => round.side.has_client(),
                };
                let is_asked_further = *part != PROXYS_CALL || !is_the_proxys(round, ask, one);
                if !is_watched || !is_asked_further {
                    continue;
                }
                verdict.strict += 1;
                let spans = found.get(&(*part, one.number));
                let what = match spans.and_then(|spans| spans.first()) {
                    Some((_, span)) if status(span).is_some() && (is_call(span) == ask.is_call) => continue,
                    Some((_, span)) if is_unseen(span) && may_be_hidden => continue,
                    Some((_, span)) if round.age == Age::Younger => format!("without status: {}", row(span)),
                    // What stood in a table of headers before may be unknown.
                    Some((_, span)) if round.wire.is_http2() && !is_unseen(span) => continue,
                    Some((_, span)) => format!("without status: {}", row(span)),
                    None => "no span".to_owned(),
                };
                if had_loss || lacks_probes {
                    verdict.excused += 1;
                    if spans.is_none() {
                        without_span.push(format!("{} {} (port {})", part.1, ask.target(), one.port));
                    }
                } else {
                    let since = (one.start - life.ready) / 1_000_000;
                    verdict.missing.push(format!(
                        "{} {} {} (port {}, place {}, {since} ms after the agent's start): {what}",
                        part.1,
                        ask.method,
                        ask.target(),
                        one.port,
                        one.place
                    ));
                }
            }
        }
    }
    let counted = most_requests_lost(happened).filter(|_| had_loss);
    // Those that follow on the same connection until it is found again are not lost, nor told; and the queue of the exporter may be
    // too short.
    let others = found_again(round, happened).saturating_add(verdict.spans_dropped());
    // Several of HTTP/1 that go in one write are lost as one; and a connection may have to be found again many times, about once in so
    // many losses. Those of HTTP/2 are counted one by one from the connection's beginning on, or once it is found; unless that
    // beginning was shed, as may be before its process is judged.
    let may_miss_beginnings = happened.lives.iter().any(|life| is_undecided_shed(&life.state));
    let each = |counted: u64| {
        if round.wire.is_http2() && round.age == Age::Younger && !may_miss_beginnings {
            counted
        } else {
            counted * round.streams as u64 + counted / 10
        }
    };
    verdict.untold = counted.map(|counted| (without_span.len() as u64, counted));
    // Each loss may cost a connection of rustls its plaintext, which has to be found again then (docs/limitations.md).
    let found_again_each =
        |counted: u64| if is_rustls_watched(round) { counted.saturating_mul(LEARNED_AFTER) } else { 0 };
    let counted = counted.map(|counted| each(counted).saturating_add(found_again_each(counted)).saturating_add(others));
    if counted.is_some_and(|counted| without_span.len() as u64 > counted) {
        let count = without_span.len();
        verdict.missing.push(format!("{count} requests without a span, at most {counted:?} counted as lost"));
        verdict.missing.extend(without_span);
    }
    verdict
}

/// Whether the span says that its target is cut, and it is the beginning of one that was asked for.
fn is_cut_target(span: &ReceivedSpan, asks: &[Ask]) -> bool {
    let target = text(span, "url.path").unwrap_or_default();
    span.attributes.get("beyla.target.truncated") == Some(&Value::Bool(true))
        && asks.iter().any(|ask| ask.target().starts_with(target))
}

/// How many requests may go by at most until connections are found again of which records were lost, by all parties that are
/// watched.
fn found_again(round: &Round, happened: &Happened) -> u64 {
    let connections = happened.told.iter().map(|told| told.port).collect::<BTreeSet<_>>().len();
    let is_proved = round.wire.is_http2() || round.wire.is_tls();
    // The first request behind a loss is given up where its answer is lost as well.
    let of_each = |party| if is_proved { leave_of(Age::OlderBusy, round, party) } else { 1 };
    let of = |party| of_each(party).saturating_mul(connections) as u64;
    let server = if round.side.has_server() { of(Party::Server) } else { 0 };
    server.saturating_add(if round.side.has_client() { of(Party::Client) } else { 0 })
}

/// Whether records of a process that was not judged yet were given up.
fn is_undecided_shed(state: &State) -> bool {
    figures(state, "beyla_rs.capture.lost").iter().any(|(labels, value)| labels.contains("undecided") && *value > 0.0)
}

/// How many requests were lost at most, as the agents say.
fn most_requests_lost(happened: &Happened) -> Option<u64> {
    let of = |life: &Life| figures(&life.state, "beyla_rs.requests.lost").into_iter().map(|(_, value)| value as u64);
    happened.lives.iter().flat_map(of).reduce(|one, other| one + other)
}

/// Requests on a connection that began before an agent which it may leave out: an exchange and the next, and what was in
/// flight then. rustls shows by two pieces which bytes are whose.
fn leave(round: &Round, party: Party) -> usize {
    leave_of(round.age, round, party)
}

/// The same, of connections that are so old.
fn leave_of(age: Age, round: &Round, party: Party) -> usize {
    let is_rustls = is_rustls(round, party);
    if round.wire.is_pipelined() && (age != Age::OlderResting || is_rustls) {
        // Which response answers what was asked before cannot be known, until it is quiet for a second.
        return usize::MAX;
    }
    if round.wire.is_http2() && (round.wire.is_tls() && round.streams > 1 || round.streams > 10) {
        // Followed again from a piece on that begins with a header block, of which there may be none for long; and 64 pieces
        // after it is known to be HTTP/2, in which there are as many requests as go into a piece.
        return usize::MAX;
    }
    let in_flight = match age {
        _ if round.streams == 1 => 0,
        // At rest, what comes first is provably a beginning.
        Age::OlderResting => round.streams,
        _ => 2 * round.streams,
    };
    // On a thread that serves several connections it may take a few pieces until it is known which bytes are whose.
    let unlearned = if is_rustls { LEARNED_AFTER as usize } else { 0 };
    2 + unlearned + in_flight + if round.wire.is_tls() { 2 * round.streams } else { 0 }
}

/// Exchanges that go by until it is known which bytes of rustls are whose.
const LEARNED_AFTER: u64 = 4;

/// Whether this party speaks TLS by rustls.
fn is_rustls(round: &Round, party: Party) -> bool {
    round.wire.is_tls()
        && match party {
            Party::Server => round.server == ServerKind::Hyper,
            Party::Client => round.client == ClientKind::Rust,
        }
}

/// Whether one that is watched does.
fn is_rustls_watched(round: &Round) -> bool {
    round.side.has_server() && is_rustls(round, Party::Server)
        || round.side.has_client() && is_rustls(round, Party::Client)
}

/// Within this time it has seen it, on a machine however busy.
const FOUND_WITHIN_NS: u64 = 1_000_000_000;

/// Requests that go by at most, on a connection that is older, until frames of HTTP/2 are followed again: what the agent has to read,
/// and a few pieces more.
const FOLLOWED_AFTER: usize = 32;

/// Whether not all of its frames are captured where they are not followed: its end, or the beginning of the next, may be missing.
fn is_long(round: &Round, ask: &Ask) -> bool {
    round.wire.is_http2() && (ask.answer.bytes > 2_000 || ask.send.len() > 2_000)
}

/// A request that an agent has to tell of with all that it is.
struct Strict<'a> {
    one: &'a Told,
    /// On a connection that is older than the agent: which it was behind the agent's start, from 0.
    nth: Option<usize>,
    /// It is a long one, or one that was asked just before it is.
    is_behind_long: bool,
    /// Its response may stand within what is not captured, or one before it on its connection.
    may_be_hidden: bool,
}

/// Requests that this agent has to tell of, unless [`leave`] leaves them out.
fn strict<'a>(round: &Round, happened: &'a Happened, life: &Life, asks: &HashMap<u64, &Ask>) -> Vec<Strict<'a>> {
    let mut by_port: BTreeMap<u16, Vec<&Told>> = BTreeMap::new();
    for told in &happened.told {
        by_port.entry(told.port).or_default().push(told);
    }
    let mut strict = Vec::new();
    for mut on_it in by_port.into_values() {
        on_it.sort_by_key(|told| told.start);
        let is_older = on_it.iter().any(|told| told.start < life.ready);
        let later: Vec<&Told> = on_it.into_iter().filter(|told| told.start >= life.ready).collect();
        let asked: Vec<&Ask> = later.iter().map(|told| asks[&told.number]).collect();
        let hidden_from = first_hidden(round, &asked);
        for (nth, &one) in later.iter().enumerate() {
            if one.end <= life.stopped && one.status.is_some() {
                // Place is found again within two exchanges.
                let behind = nth.saturating_sub(2 * round.streams);
                let is_behind_long = asked[behind..=nth].iter().any(|before| is_long(round, before));
                let may_be_hidden = hidden_from.is_some_and(|from| nth >= from);
                strict.push(Strict { one, nth: is_older.then_some(nth), is_behind_long, may_be_hidden });
            }
        }
    }
    strict
}

/// Whether a proxy has answered by itself, as it does where a server behind it takes no connection (nginx: 502, 504) or its disk has no
/// room for what it is sent (500): the client says so, and is believed.
fn is_the_proxys(round: &Round, ask: &Ask, told: &Told) -> bool {
    let is_own = told.status.is_some_and(|status| matches!(status, 500 | 502 | 504) && status != ask.answer.status);
    round.server == ServerKind::Proxy && is_own
}

/// Bytes that libcurl has room for of a transfer.
const CURL_BUFFER: usize = 16_384;

/// Whether libcurl (7.88) dropped a part of the body, watched or not: where its buffer for one of several streams is full it stops nghttp2 and
/// keeps where the rest of the DATA lies, but goes on when another stream's upload ends, and forgets that rest for the next. By a length
/// that was announced it notices, and says so.
fn drops_bytes(round: &Round, ask: &Ask, told: &Told) -> bool {
    let is_libcurl = round.client != ClientKind::Rust && round.wire.is_http2() && round.streams > 1;
    let has_length = ask.by_query || ask.answer.shape == Shape::Whole;
    is_libcurl && !has_length && ask.answer.bytes > CURL_BUFFER && told.bytes < ask.answer.bytes
}

/// Bytes of responses that sockets take for certain before a server has to wait.
const TAKEN_AT_ONCE: usize = 65_536;
/// Bytes of a later piece that are captured.
const LATER_HEAD: usize = 64;

/// From which request of a connection on a response may stand within what is not captured, as docs/limitations.md says: of a server
/// that writes several at once where its socket was full, behind one of which it says the length chunk by chunk. Which response is
/// whose is not known from there on.
fn first_hidden(round: &Round, asked: &[&Ask]) -> Option<usize> {
    if !round.wire.is_pipelined() || round.server != ServerKind::Node {
        return None;
    }
    let may_hide = |at_once: &[&Ask]| {
        let is_chunked = |ask: &&Ask| ask.answer.shape != Shape::Whole && ask.answer.bytes > LATER_HEAD;
        at_once.iter().map(|ask| ask.answer.bytes).sum::<usize>() > TAKEN_AT_ONCE && at_once.iter().any(is_chunked)
    };
    asked.windows(round.streams.min(asked.len()).max(1)).position(may_hide)
}

/// Whether responses may be told of other requests, as docs/limitations.md says: a client that keeps the same number of requests
/// open all the time, on connections that are seen from their midst on only or where records were lost, cannot be told from one that
/// does not pipeline. Neither can one whose batch ends with requests that go one by one, where plaintext of rustls is found then.
fn may_be_off(round: &Round, had_loss: bool) -> bool {
    let has_rustls = round.wire.is_tls() && (round.server == ServerKind::Hyper || round.client == ClientKind::Rust);
    let is_seen_in_midst = match round.age {
        Age::Younger => false,
        Age::OlderResting => has_rustls,
        Age::OlderBusy | Age::Restarted => true,
    };
    let is_seen_alone = !round.is_batched() || has_rustls;
    round.wire.is_pipelined() && is_seen_alone && (had_loss || is_seen_in_midst)
}

/// What a span says that is not so.
fn compare(
    round: &Round,
    had_loss: bool,
    (part, peer): (Part, Option<u16>),
    span: &ReceivedSpan,
    ask: &Ask,
    told: Option<&Told>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut check = |is_so: bool, what: &dyn Fn() -> String| {
        if !is_so {
            wrong.push(what());
        }
    };
    let own = told.filter(|told| is_the_proxys(round, ask, told)).and_then(|told| told.status);
    // Behind the proxy it may have been answered nevertheless.
    let is_between = part == PROXYS_CALL;
    let asked = u64::from(own.filter(|_| !is_between).unwrap_or(ask.answer.status));
    let may_be_off = may_be_off(round, had_loss) || own.is_some() && is_between;
    if let Some(status) = status(span).filter(|_| !may_be_off) {
        if is_call(span) == ask.is_call {
            check(status == asked, &|| format!("status {status} of {asked}"));
        } else if ask.is_call {
            check(asked == 0, &|| format!("HTTP {status} of a call that failed with {asked}"));
        }
    }
    check(!is_call(span) || ask.is_call, &|| "a call that was none".to_owned());
    if let Some(method) = text(span, "http.request.method") {
        check(method == ask.method, &|| format!("method {method}"));
    }
    if let Some(size) = integer(span, "http.request.body.size").filter(|_| !ask.is_call) {
        check(size == ask.send.len() as u64, &|| format!("request body {size} of {}", ask.send.len()));
    }
    let Some(told) = told else {
        wrong.push("not asked any more".to_owned());
        return wrong;
    };
    let is_answered = told.status.is_some();
    if let Some(size) = integer(span, "http.response.body.size").filter(|_| is_answered && ask.method != "HEAD") {
        let came = if drops_bytes(round, ask, told) { ask.answer.bytes } else { told.bytes };
        check(size == came as u64 || ask.is_call || may_be_off, &|| format!("response body {size} of {came}"));
    }
    let may_be_first = told.again && is_without_response(span);
    if let Some(outcome) = text(span, "beyla.outcome").filter(|_| is_answered && !may_be_first && !may_be_off) {
        check(outcome == "unseen", &|| format!("{outcome}, and was answered"));
    }
    if let Some(said) = text(span, "network.protocol.version") {
        let is_between = round.server == ServerKind::Proxy && peer.is_some() && said == "1.0";
        check(is_between || said == if round.wire.is_http2() { "2" } else { "1.1" }, &|| format!("version {said}"));
    }
    let expected = u64::from(peer.unwrap_or(told.port));
    let peer = integer(span, "network.peer.port");
    check(may_be_first || peer.is_none_or(|peer| peer == expected), &|| format!("peer {peer:?} of {expected}"));
    // A thread can be held up between its call and what records it, by whatever else runs on the machine.
    let is_held_up = matches!(round.trouble, Trouble::CpuLoad | Trouble::RealTime);
    let slack: u64 = if is_held_up { 2_000_000_000 } else { 1_000_000_000 };
    check(span.start_unix_nano + slack >= told.start, &|| {
        format!("starts {} ms before it was asked", (told.start - span.start_unix_nano) / 1_000_000)
    });
    // Of what was not seen to its end it is not known when that was, and what was lost is known by what comes next.
    check(is_unseen(span) || had_loss || span.end_unix_nano <= told.end + slack, &|| {
        format!("ends {} ms after it was answered", (span.end_unix_nano - told.end) / 1_000_000)
    });
    // Timers may be early by a millisecond.
    let floor = ask.answer.delay_ms.saturating_sub(1) * 1_000_000;
    let is_whole = !is_unseen(span) && is_answered && round.age == Age::Younger && !may_be_off;
    check(!is_whole || span.duration_ns() >= floor, &|| {
        format!("lasted {} us, at least {} us", span.duration_ns() / 1_000, floor / 1_000)
    });
    wrong
}

/// What a span says, in short.
fn row(span: &ReceivedSpan) -> String {
    let mut row = format!("{} {} {} us", span.kind, span.name, span.duration_ns() / 1_000);
    for key in [
        "url.path",
        "url.full",
        "url.query",
        "http.response.status_code",
        CODE,
        "http.request.body.size",
        "http.response.body.size",
        "network.peer.port",
        "beyla.outcome",
        "beyla.name.unknown",
    ] {
        if let Some(value) = span.attributes.get(key) {
            let short = key.rsplit_once('.').map_or(key, |(front, last)| if last == "size" { front } else { last });
            let _infallible = write!(row, " {short}={value}");
        }
    }
    row
}

/// The last word on each series of a metric.
fn last<'a>(state: &'a State, name: &str) -> BTreeMap<String, (&'a ReceivedMetric, usize)> {
    let mut series = BTreeMap::new();
    for metric in state.metrics.iter().filter(|metric| metric.name == name) {
        for (at, point) in metric.points.iter().enumerate() {
            series.insert(format!("{:?}{:?}", metric.resource, point.attributes), (metric, at));
        }
    }
    series
}

/// Labels and values of a metric that is a number.
pub(crate) fn figures(state: &State, name: &str) -> Vec<(String, f64)> {
    let figure = |(metric, at): (&ReceivedMetric, usize)| {
        let point = &metric.points[at];
        let labels: Vec<_> = point.attributes.values().filter_map(Value::as_str).collect();
        (if labels.is_empty() { String::new() } else { format!("{labels:?}") }, point.value)
    };
    last(state, name).into_values().map(figure).collect()
}

/// Histograms say what the spans say.
fn histograms(state: &State, whose: &Whose<'_>, differing: &mut Vec<String>) {
    for (kind, calls, name) in [
        ("SERVER", false, "http.server.request.duration"),
        ("CLIENT", false, "http.client.request.duration"),
        ("SERVER", true, "rpc.server.call.duration"),
        ("CLIENT", true, "rpc.client.call.duration"),
    ] {
        let mut by_spans: BTreeMap<String, (u64, f64)> = BTreeMap::new();
        for span in &state.spans {
            let is_of_it = span.kind == kind && is_call(span) == calls && whose.party(&span.resource).is_some();
            if is_of_it && !is_unseen(span) {
                let said = by_spans.entry(series(&span.attributes)).or_default();
                said.0 += 1;
                said.1 += span.duration_ns() as f64 / 1e9;
            }
        }
        let mut by_points: BTreeMap<String, (u64, f64)> = BTreeMap::new();
        for (metric, at) in last(state, name).into_values() {
            if whose.party(&metric.resource).is_some() {
                let point = &metric.points[at];
                let said = by_points.entry(series(&point.attributes)).or_default();
                said.0 += point.count;
                said.1 += point.sum.unwrap_or_default();
            }
        }
        if by_points.remove(OVERFLOW).is_some() {
            // More series than there may be: what is beyond is not told apart.
            continue;
        }
        let keys: BTreeSet<_> = by_spans.keys().chain(by_points.keys()).collect();
        for key in keys {
            let of = |map: &BTreeMap<String, (u64, f64)>| map.get(key).copied().unwrap_or_default();
            let (spans, points) = (of(&by_spans), of(&by_points));
            if spans.0 != points.0 || (spans.1 - points.1).abs() > 1e-6 + spans.1 / 1e6 {
                differing.push(format!("{name} {key}: spans {spans:?}, histogram {points:?} (count, seconds)"));
            }
        }
    }
}

/// What a series says that stands for all beyond the limit.
const OVERFLOW: &str = "overflow";

/// What tells series apart that have to agree with the spans.
fn series(attributes: &BTreeMap<String, Value>) -> String {
    if attributes.contains_key("otel.metric.overflow") {
        return OVERFLOW.to_owned();
    }
    let keys = ["http.request.method", "http.response.status_code", CODE];
    let words: Vec<_> = keys.iter().filter_map(|key| attributes.get(*key)).map(ToString::to_string).collect();
    words.join(" ")
}

/// Adds what the agent counted as lost.
fn count_lost(life: &Life, lost: &mut BTreeMap<String, u64>) {
    let names: BTreeSet<_> = life.state.metrics.iter().map(|metric| metric.name.as_str()).collect();
    for name in names.into_iter().filter(|name| name.starts_with("beyla_rs.")) {
        let is_bytes = name.ends_with("bytes");
        let is_loss = !is_bytes && ["lost", "left_out", "dropped", "shed"].iter().any(|word| name.contains(word));
        for (metric, at) in last(&life.state, name).into_values() {
            let point = &metric.points[at];
            let labels: Vec<_> = point.attributes.values().filter_map(Value::as_str).collect();
            let is_dropped =
                name.starts_with("beyla_rs.export") && labels.iter().any(|label| label.contains("dropped"));
            if (is_loss || is_dropped || name == UNSAMPLED) && point.value > 0.0 {
                *lost.entry(format!("{name}{labels:?}")).or_default() += point.value as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests;
