//! Whether spans hang where they belong.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use super::Context;

/// Wrong ones that are told by name.
const CASES: usize = 5;

/// Which end of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Who answers.
    Server,
    /// Who asks.
    Client,
}

/// A span that there has to be.
#[derive(Clone, Debug)]
pub struct Due {
    /// The request of the load that it belongs to.
    pub request: usize,
    /// Which end.
    pub kind: Kind,
    /// Its path, which no other span of this kind has.
    pub path: String,
    /// Its true parent.
    pub parent: Option<(Kind, String)>,
    /// Whether it has to hang there.
    pub need: Need,
    /// What its request carried.
    pub context: Option<Context>,
}

/// Whether a span has to hang under its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It has.
    Certain,
    /// It may have no parent; and it has none where it lasted for longer than that.
    Linked,
}

/// A span that the agent told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which end.
    pub kind: Kind,
    /// Its path.
    pub path: String,
    /// Its trace.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// Its parent's.
    pub parent: Option<String>,
    /// From when to when, in nanoseconds.
    pub time: (u64, u64),
    /// `beyla.parent.evidence`.
    pub evidence: Option<String>,
}

/// The fields of `--print json` that matter here.
#[derive(Deserialize)]
struct Line {
    trace_id: String,
    span_id: String,
    parent_span_id: Option<String>,
    kind: String,
    start_unix_nano: u64,
    end_unix_nano: u64,
    attributes: Attributes,
}

#[derive(Deserialize)]
struct Attributes {
    #[serde(rename = "url.path")]
    path: Option<String>,
    #[serde(rename = "url.full")]
    url: Option<String>,
    #[serde(rename = "rpc.method")]
    method: Option<String>,
    #[serde(rename = "beyla.parent.evidence")]
    evidence: Option<Value>,
}

impl Span {
    /// Of a call of a service's own, of no request.
    #[must_use]
    pub fn is_of_nobody(&self) -> bool {
        self.path.starts_with("/background")
    }

    fn lies_within(&self, other: &Self) -> bool {
        self.time.0 >= other.time.0 && self.time.1 <= other.time.1
    }

    /// Of a line of `--print json`; `None` for one of another kind, or without a path.
    ///
    /// # Panics
    /// If it is no such line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let line: Line = serde_json::from_str(line).unwrap_or_else(|error| panic!("no span: {error}: {line}"));
        let kind = match line.kind.as_str() {
            "SERVER" => Kind::Server,
            "CLIENT" => Kind::Client,
            _ => return None,
        };
        let Attributes { path, url, method, evidence } = line.attributes;
        // Of gRPC the method stands for the path.
        let method = method.and_then(|method| Some(format!("/{}", method.rsplit_once('/')?.1)));
        let path = path.or(method).or_else(|| {
            let url = url?;
            let (_, rest) = url.split_once("://")?;
            let path = rest.get(rest.find('/')?..)?;
            Some(path.split('?').next().unwrap_or_default().to_owned())
        })?;
        Some(Self {
            kind,
            path,
            trace: line.trace_id,
            id: line.span_id,
            parent: line.parent_span_id,
            time: (line.start_unix_nano, line.end_unix_nano),
            evidence: evidence.and_then(|value| Some(value.as_str()?.to_owned())),
        })
    }
}

/// How many parents are as they should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// The true one.
    pub right: usize,
    /// None, though there is one.
    pub missing: usize,
    /// Another.
    pub wrong: usize,
    /// None, as it may be.
    pub linked: usize,
    /// By what the agent says that it knows it.
    pub evidence: BTreeMap<String, usize>,
}

impl Tally {
    /// Of those that have to have a parent, the share that has the right one.
    #[must_use]
    pub fn share(&self) -> f64 {
        let due = self.right + self.missing + self.wrong;
        if due == 0 { 1.0 } else { self.right as f64 / due as f64 }
    }

    /// Adds another.
    pub fn add(&mut self, other: &Self) {
        self.right += other.right;
        self.missing += other.missing;
        self.wrong += other.wrong;
        self.linked += other.linked;
        for (evidence, count) in &other.evidence {
            *self.evidence.entry(evidence.clone()).or_default() += count;
        }
    }
}

/// What is to be said of the spans of a cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Parents within the process: of calls.
    pub within: Tally,
    /// Across processes: of what is asked by calls; and roots that have a parent.
    pub across: Tally,
    /// Spans that there are not.
    pub unseen: usize,
    /// Spans of nothing that was asked, or told twice.
    pub strange: usize,
    /// Calls that were awaited, and by their times did not lie within their requests.
    pub outside: usize,
    /// Calls of a service's own, of no request, which rightly have no parent.
    pub alone: usize,
    /// Requests all of whose spans, and nobody else's, are in one trace; and those of which that is due.
    pub whole: (usize, usize),
    /// The first that are wrong, in words.
    pub cases: Vec<String>,
}

/// Compares the spans with those that are due.
#[must_use]
pub fn judge(dues: &[Due], spans: &[Span]) -> Verdict {
    let mut verdict = Verdict::default();
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.id.as_str(), span)).collect();
    let by_name: HashMap<(Kind, &str), &Due> = dues.iter().map(|due| ((due.kind, due.path.as_str()), due)).collect();
    let mut seen = HashSet::new();
    // The requests that are found in each trace, and the traces of each request.
    let mut requests: HashMap<&str, BTreeSet<usize>> = HashMap::new();
    let mut traces: HashMap<usize, BTreeSet<&str>> = HashMap::new();
    let named: HashMap<(Kind, &str), &Span> =
        spans.iter().map(|span| ((span.kind, span.path.as_str()), span)).collect();
    // Requests that carry a context may be all that tells: calls of nobody carry none.
    let carried = dues.iter().any(|due| due.context.is_some());
    for span in spans {
        if span.is_of_nobody() {
            let is_free = carried && span.kind == Kind::Server && span.parent.is_none();
            if !is_free {
                verdict.judge_own_call(span, &by_id, &named);
            }
            continue;
        }
        let Some(due) = by_name.get(&(span.kind, span.path.as_str())) else {
            verdict.strange += 1;
            continue;
        };
        if !seen.insert((due.kind, due.path.as_str())) {
            verdict.strange += 1;
        }
        let request = due.parent.as_ref().and_then(|(kind, path)| named.get(&(*kind, path.as_str())));
        if due.kind == Kind::Client && due.need == Need::Certain && request.is_some_and(|it| !span.lies_within(it)) {
            verdict.outside += 1;
        }
        requests.entry(&span.trace).or_default().insert(due.request);
        traces.entry(due.request).or_default().insert(&span.trace);
        let outcome = place(due, span, &by_id);
        let column = if span.kind == Kind::Client { &mut verdict.within } else { &mut verdict.across };
        match &outcome {
            Outcome::Root => continue,
            Outcome::Right => column.right += 1,
            Outcome::Missing => column.missing += 1,
            Outcome::Linked => column.linked += 1,
            Outcome::Wrong(what) => {
                column.wrong += 1;
                if verdict.cases.len() < CASES {
                    verdict.cases.push(format!("{:?} {} ({}): {what}", span.kind, span.path, span.id));
                }
            }
        }
        *column.evidence.entry(span.evidence.clone().unwrap_or_else(|| "-".to_owned())).or_default() += 1;
    }
    let linked: HashSet<usize> = dues.iter().filter(|due| due.need == Need::Linked).map(|due| due.request).collect();
    let mut unseen = HashSet::new();
    for due in dues.iter().filter(|due| !seen.contains(&(due.kind, due.path.as_str()))) {
        verdict.unseen += 1;
        unseen.insert(due.request);
    }
    let all: HashSet<usize> = dues.iter().map(|due| due.request).filter(|request| !linked.contains(request)).collect();
    let is_whole = |request: &&usize| {
        let Some(traces) = traces.get(*request).filter(|_| !unseen.contains(*request)) else { return false };
        traces.len() == 1 && traces.iter().all(|trace| requests[trace].len() == 1)
    };
    verdict.whole = (all.iter().filter(is_whole).count(), all.len());
    verdict
}

impl Verdict {
    /// A service's own call has no parent; what is asked by it has it, where that was told by now.
    fn judge_own_call(&mut self, span: &Span, by_id: &HashMap<&str, &Span>, named: &HashMap<(Kind, &str), &Span>) {
        let caller = named.get(&(Kind::Client, span.path.as_str())).filter(|_| span.kind == Kind::Server);
        let column = if span.kind == Kind::Client { &mut self.within } else { &mut self.across };
        let wrong = match (span.kind, &span.parent) {
            (Kind::Client, None) => {
                self.alone += 1;
                None
            }
            (Kind::Client, Some(id)) => by_id.get(id.as_str()).map_or(Some(id.clone()), |it| Some(it.path.clone())),
            (Kind::Server, Some(id)) if caller.is_some_and(|caller| caller.id == *id && caller.trace == span.trace) => {
                column.right += 1;
                None
            }
            (Kind::Server, None) if caller.is_some() => {
                column.missing += 1;
                None
            }
            (Kind::Server, Some(id)) if caller.is_some() || by_id.contains_key(id.as_str()) => Some(id.clone()),
            (Kind::Server, _) => None,
        };
        if let Some(parent) = wrong {
            column.wrong += 1;
            if self.cases.len() < CASES {
                self.cases.push(format!(
                    "{:?} {} ({}), which nobody asked for: under {parent}",
                    span.kind, span.path, span.id
                ));
            }
        }
    }
}

enum Outcome {
    /// Has none, and there is none.
    Root,
    Right,
    Missing,
    Linked,
    Wrong(String),
}

fn place(due: &Due, span: &Span, by_id: &HashMap<&str, &Span>) -> Outcome {
    if let Some(context) = due.context.as_ref().filter(|context| context.trace != span.trace) {
        return Outcome::Wrong(format!("in trace {}, its request was in {}", span.trace, context.trace));
    }
    let Some(id) = span.parent.as_deref() else {
        return match (&due.parent, &due.context) {
            (None, None) => Outcome::Root,
            (Some(_), _) if due.need == Need::Linked => Outcome::Linked,
            _ => Outcome::Missing,
        };
    };
    // What a request carries is as good: its caller could know no better.
    if due.context.as_ref().is_some_and(|context| context.span == id) {
        return Outcome::Right;
    }
    let Some(parent) = by_id.get(id) else {
        return Outcome::Wrong(format!("under {id}, which is no span"));
    };
    let shown = format!("under {:?} {} ({id})", parent.kind, parent.path);
    if due.parent.as_ref().is_none_or(|(kind, path)| (*kind, path) != (parent.kind, &parent.path)) {
        return Outcome::Wrong(shown);
    }
    if parent.trace != span.trace {
        return Outcome::Wrong(format!("{shown}, of another trace"));
    }
    if due.need == Need::Linked && !span.lies_within(parent) {
        return Outcome::Wrong(format!("{shown}, and does not lie within it"));
    }
    Outcome::Right
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parents::{Cell, Pattern, Shape, plan};

    fn cell(pattern: Pattern, headers: bool) -> Cell {
        Cell { pattern, concurrency: 1, requests: 8, headers }
    }

    /// The spans of an agent that knows all.
    fn true_spans(dues: &[Due]) -> Vec<Span> {
        let id = |kind: Kind, path: &str| format!("{kind:?}{path}");
        let span = |due: &Due| {
            // Each lies within its parent, and children one behind the other.
            let depth = due.path.matches('.').count() as u64 * 2 + u64::from(due.kind == Kind::Server);
            Span {
                kind: due.kind,
                path: due.path.clone(),
                trace: format!("t{}", due.request),
                id: id(due.kind, &due.path),
                parent: due.parent.as_ref().map(|(kind, path)| id(*kind, path)),
                time: (depth, 100 - depth),
                evidence: due.parent.as_ref().map(|_| "thread".to_owned()),
            }
        };
        dues.iter().map(span).collect()
    }

    fn find<'a>(spans: &'a mut [Span], kind: Kind, path: &str) -> &'a mut Span {
        spans.iter_mut().find(|span| span.kind == kind && span.path == path).expect("it is due")
    }

    #[test]
    fn true_trees_are_right_and_whole() {
        for shape in [Shape::Star(3), Shape::Proxy, Shape::Behind(3), Shape::Chain(&[1, 1, 2])] {
            let (requests, dues) = plan(shape, &cell(Pattern::Sequential, false), 1);
            assert_eq!(requests.len(), 8);
            let verdict = judge(&dues, &true_spans(&dues));
            let calls = match shape {
                Shape::Star(_) => 2 * (1 + 2 + 3),
                Shape::Proxy => 8,
                Shape::Behind(_) => 8 + 2 * (1 + 2 + 3),
                Shape::Chain(_) => 8 * 4,
            };
            assert_eq!((verdict.within.right, verdict.across.right), (calls, calls));
            assert_eq!(verdict.whole, (8, 8));
            assert_eq!((verdict.within.share(), verdict.within.evidence["thread"]), (1.0, calls));
            assert_eq!((verdict.within.wrong + verdict.across.wrong, verdict.unseen, verdict.strange), (0, 0, 0));
        }
    }

    #[test]
    fn calls_that_are_mixed_up_are_wrong() {
        let (_, dues) = plan(Shape::Star(3), &cell(Pattern::Parallel, false), 1);
        let mut spans = true_spans(&dues);
        // The calls of two requests change places, with their traces, as they would in the agent.
        let one = find(&mut spans, Kind::Client, "/r1x2.1").clone();
        let other = find(&mut spans, Kind::Client, "/r1x3.1");
        let swapped = (other.parent.clone(), other.trace.clone());
        (other.parent, other.trace) = (one.parent, one.trace);
        let one = find(&mut spans, Kind::Client, "/r1x2.1");
        (one.parent, one.trace) = swapped;
        let verdict = judge(&dues, &spans);
        assert_eq!((verdict.within.wrong, verdict.within.right), (2, 10));
        // Their back ends hang where they belong, but were left behind in the traces.
        assert_eq!(verdict.across.wrong, 2);
        assert_eq!(verdict.whole, (6, 8));
        assert!(verdict.cases.iter().any(|case| case.contains("Client /r1x2.1") && case.contains("Server /r1x3 ")));
    }

    #[test]
    fn a_span_of_another_call_is_wrong_across_though_the_trace_is_right() {
        let (_, dues) = plan(Shape::Star(3), &cell(Pattern::Parallel, false), 1);
        let mut spans = true_spans(&dues);
        find(&mut spans, Kind::Server, "/r1x3.1").parent = Some("Client/r1x3.2".to_owned());
        let verdict = judge(&dues, &spans);
        assert_eq!((verdict.across.wrong, verdict.whole), (1, (8, 8)));
    }

    #[test]
    fn what_has_no_parent_is_missing_and_what_is_not_there_unseen() {
        let (_, dues) = plan(Shape::Star(3), &cell(Pattern::Pause, false), 1);
        let mut spans = true_spans(&dues);
        find(&mut spans, Kind::Client, "/r1x1.1").parent = None;
        spans.retain(|span| span.path != "/r1x2.2");
        let verdict = judge(&dues, &spans);
        assert_eq!((verdict.within.missing, verdict.unseen), (1, 2));
        assert_eq!((verdict.within.wrong, verdict.across.wrong), (0, 0));
        assert!(verdict.within.share() < 1.0);
        assert_eq!(verdict.whole, (7, 8));
    }

    #[test]
    fn a_root_that_has_a_parent_is_wrong_and_so_is_one_that_nobody_has_seen() {
        let (_, dues) = plan(Shape::Star(3), &cell(Pattern::Sequential, false), 1);
        let mut spans = true_spans(&dues);
        find(&mut spans, Kind::Server, "/r1x3").parent = Some("Server/r1x2".to_owned());
        find(&mut spans, Kind::Server, "/r1x1.1").parent = Some("nobody".to_owned());
        let verdict = judge(&dues, &spans);
        assert_eq!(verdict.across.wrong, 2);
    }

    #[test]
    fn what_is_forgotten_may_have_no_parent_but_no_wrong_one_and_lies_within_it() {
        let (_, dues) = plan(Shape::Star(3), &cell(Pattern::Forget, false), 1);
        let mut spans = true_spans(&dues);
        find(&mut spans, Kind::Client, "/r1x1.1").parent = None;
        assert_eq!(judge(&dues, &spans).within.linked, 1);
        assert_eq!(judge(&dues, &spans).within.share(), 1.0);
        find(&mut spans, Kind::Client, "/r1x2.1").time.1 = 200;
        find(&mut spans, Kind::Client, "/r1x2.2").parent = Some("Server/r1x3".to_owned());
        assert_eq!(judge(&dues, &spans).within.wrong, 2);
    }

    #[test]
    fn calls_of_nobody_have_no_parent() {
        let (_, dues) = plan(Shape::Star(3), &cell(Pattern::Sequential, false), 1);
        let mut spans = true_spans(&dues);
        let own = |kind: Kind, number: u32, parent: Option<&str>| Span {
            kind,
            path: format!("/background1n{number}"),
            trace: format!("b{number}"),
            id: format!("{kind:?}{number}"),
            parent: parent.map(str::to_owned),
            time: (1, 2),
            evidence: None,
        };
        spans.extend([
            own(Kind::Client, 1, None),
            own(Kind::Server, 1, Some("Client1")),
            own(Kind::Server, 2, Some("gone")),
        ]);
        let verdict = judge(&dues, &spans);
        assert_eq!((verdict.alone, verdict.across.right, verdict.strange), (1, 13, 0));
        assert_eq!((verdict.within.wrong, verdict.across.wrong, verdict.whole), (0, 0, (8, 8)));
        spans.extend([own(Kind::Client, 3, Some("Server/r1x1")), own(Kind::Server, 3, Some("Client1"))]);
        let verdict = judge(&dues, &spans);
        assert_eq!((verdict.within.wrong, verdict.across.wrong), (1, 1));
    }

    #[test]
    fn a_call_that_was_awaited_lies_within_its_request() {
        let (_, dues) = plan(Shape::Star(3), &cell(Pattern::Sequential, false), 1);
        let mut spans = true_spans(&dues);
        assert_eq!(judge(&dues, &spans).outside, 0);
        find(&mut spans, Kind::Client, "/r1x2.1").time.1 = 200;
        assert_eq!(judge(&dues, &spans).outside, 1);
    }

    #[test]
    fn what_the_request_carried_is_a_right_parent_and_another_trace_a_wrong_one() {
        let (_, dues) = plan(Shape::Star(3), &cell(Pattern::Sequential, true), 1);
        let mut spans = true_spans(&dues);
        for (span, due) in spans.iter_mut().zip(&dues) {
            let context = due.context.clone().expect("each carries one");
            (span.trace, span.parent) = (context.trace, Some(context.span));
        }
        let verdict = judge(&dues, &spans);
        assert_eq!((verdict.within.right, verdict.across.right, verdict.whole), (12, 12 + 8, (8, 8)));
        let other = find(&mut spans, Kind::Server, "/r1x3.1").clone();
        let one = find(&mut spans, Kind::Server, "/r1x2.1");
        (one.trace, one.parent) = (other.trace, other.parent);
        assert_eq!(judge(&dues, &spans).across.wrong, 1);
    }

    #[test]
    fn spans_are_read_off_what_the_agent_prints() {
        let line = r#"{"trace_id":"t","span_id":"s","parent_span_id":null,"kind":"CLIENT","start_unix_nano":1,"end_unix_nano":2,
            "attributes":{"url.full":"http://127.0.0.1:80/r1.1?p=x","beyla.parent.evidence":"task"}}"#;
        let span = Span::parse(line).expect("a span");
        assert_eq!((span.path.as_str(), span.kind, span.parent), ("/r1.1", Kind::Client, None));
        assert_eq!(span.evidence.as_deref(), Some("task"));
        assert_eq!(Span::parse(&line.replace("CLIENT", "INTERNAL")), None);
        let line = line.replace(r#""url.full":"http://127.0.0.1:80/r1.1?p=x""#, r#""rpc.method":"parents.Bed/r1.1""#);
        assert_eq!(Span::parse(&line).expect("a span").path, "/r1.1");
    }
}
