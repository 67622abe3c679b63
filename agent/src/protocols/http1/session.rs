//! Matching responses with requests.

use std::mem;

use super::{
    body::Body,
    framing::{Asked, is_bodyless, request_body, response_body},
    head::{Framing, HTTP_0_9, Head as _, Length, RequestHead, ResponseHead, Upgrade},
    open::Open,
    side::{EndHint, Gap, Missing, Moment, Place, QUIET_NS, Side, Step},
};
use crate::{
    model::{
        exchange::{self, Group, Opened, Outcome},
        ids::ThreadId,
        net::{Direction, Role},
    },
    protocols::{
        Anomalies, Chunk, End, Handover, Interest, Output, Recognition, Session,
        carried::Marks,
        http::{Answer, exports_spans, kinds_of},
        matching::{InOrder, Limits},
    },
};

/// Requests of a connection that may wait for their response at a time.
const LIMITS: Limits = Limits { requests: 1024, bytes: 512 * 1024 };
/// After so long without a byte in either direction a client that pipelines has no request open: longer than it takes to answer
/// what it has asked. One that does not has none after [`QUIET_NS`].
const PIPELINED_QUIET_NS: u64 = 1_000_000_000;

/// One HTTP/1 connection.
pub(super) struct Http1 {
    role: Role,
    requests: Side<RequestHead>,
    responses: Side<ResponseHead>,
    open: InOrder<Open>,
    /// One of those that were left out was a HEAD, so how their responses are framed is not known.
    left_out_head: bool,
    /// Number of the request whose body is read.
    body_of: u64,
    /// What it begins with tells of spans.
    carries_spans: bool,
    /// It expects a `100 Continue`, and neither that nor a byte of its body has come.
    awaits_continue: bool,
    /// The response that is read is the first request's.
    answering: bool,
    /// Bytes that are no response came while a request waited for one.
    stray: bool,
    /// A response began while more than one request was open.
    pipelines: bool,
    pairing: Pairing,
    /// Something was missed before, so that responses are in order is a conclusion, which they may refute.
    is_concluded: bool,
    /// That conclusion holds only for a client that does not pipeline.
    presumes_turns: bool,
    /// A response that answers no request came since the last one.
    unmatched: bool,
    /// How far responses have come.
    answered_to: u64,
    /// A response was read that answers a request.
    has_answered: bool,
    /// How far they had come when the last piece of requests was recorded.
    asked_at: u64,
    /// The same of the last request's beginning.
    last_asked: Option<u64>,
    /// Behind what was read last of them, and how far requests had come when that was recorded.
    response_at: (u64, u64),
    /// The response that is read answers a request that was not captured.
    answers_hidden: bool,
    interest: Interest,
    handover: Handover,
    anomalies: Anomalies,
}

/// How it is known which response answers which request.
enum Pairing {
    /// Each answers the first request that is open.
    InOrder,
    /// Something was missed, so what is open may not be all. Each request is unseen until there is proof that nothing else is.
    Lost(Proof),
}

/// What proves that nothing unseen is open: a request and all of its response were seen, and when that ended nothing more had
/// been asked. The next request is then the only one, if the client does not pipeline.
#[derive(Clone, Copy, Default)]
struct Proof {
    /// The request has been answered: where its response ended, and how far requests had come by then.
    answered: Option<(u64, u64)>,
}

impl Pairing {
    /// What was seen since something was missed proves nothing.
    fn disprove(&mut self) {
        if let Self::Lost(proof) = self {
            *proof = Proof::default();
        }
    }
}

impl Http1 {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            requests: Side::new(),
            responses: Side::new(),
            open: InOrder::new(LIMITS),
            left_out_head: false,
            body_of: u64::MAX,
            carries_spans: false,
            awaits_continue: false,
            answering: false,
            stray: false,
            pipelines: false,
            pairing: Pairing::InOrder,
            is_concluded: false,
            presumes_turns: false,
            unmatched: false,
            answered_to: 0,
            has_answered: false,
            asked_at: 0,
            last_asked: None,
            response_at: (0, 0),
            answers_hidden: false,
            interest: Interest::Parse,
            handover: Handover::default(),
            anomalies: Anomalies::default(),
        }
    }

    // ---- requests

    fn on_request_bytes(&mut self, bytes: &[u8], mut at_start: bool, moment: Moment, out: &mut Output) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let moment = moment.behind((bytes.len() - rest.len()) as u64);
            if self.carries_spans {
                self.on_exported(rest);
            }
            let is_body = matches!(self.requests.place, Place::Body { .. });
            let step = self.requests.bytes(rest, at_start, moment);
            if is_body && let Some(marks) = self.marks_of_body() {
                marks.take(false, step.of_body(rest));
            }
            let used = match step {
                Step::More => {
                    self.on_request_body_begun();
                    return;
                }
                Step::Head { head, cut, used } => {
                    self.anomalies.over_limit += u64::from(cut);
                    self.on_request(head, cut, out);
                    used
                }
                Step::BodyEnd { total, used } => {
                    self.on_request_body(total);
                    used
                }
                Step::Found => continue,
                Step::Lost { used } => {
                    self.anomalies.resyncs += 1;
                    used
                }
            };
            at_start &= used == 0;
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// A body begins by which a client exports its spans: what was captured of it.
    fn on_exported(&mut self, bytes: &[u8]) {
        self.carries_spans = false;
        if matches!(self.requests.place, Place::Body { .. })
            && let Some(open) = self.open.get_mut(self.body_of)
        {
            open.http.exported_kinds = kinds_of(bytes);
        }
    }

    /// What is known of what the request carries whose body is read.
    fn marks_of_body(&mut self) -> Option<&mut Marks> {
        self.open.get_mut(self.body_of)?.marks.as_deref_mut()
    }

    /// The same of that whose answer is.
    fn marks_of_answer(&mut self) -> Option<&mut Marks> {
        self.open.front_mut().filter(|_| self.answering)?.marks.as_deref_mut()
    }

    fn on_request_gap(&mut self, count: u64, lost: bool, moment: Moment, out: &mut Output) {
        self.carries_spans = false;
        if matches!(self.requests.place, Place::Body { .. })
            && let Some(marks) = self.marks_of_body()
        {
            marks.cut(false);
        }
        match self.requests.gap(count) {
            // Where framing is lost already, capture is taken to begin with each head, loss is not.
            Gap::Within if lost && matches!(self.requests.place, Place::Seek(_)) => self.on_missed_request(moment, out),
            Gap::Within => self.on_request_body_begun(),
            Gap::BodyEnd { total } => self.on_request_body(total),
            Gap::BodyPassed { total } => {
                self.on_request_body(total);
                self.on_missed_request(moment, out);
            }
            Gap::Cut(head) => {
                self.on_request(head, true, out);
                if lost {
                    self.on_missed_request(moment, out);
                }
            }
            Gap::Missed => self.on_missed_request(moment, out),
            Gap::Lost if lost => self.on_missed_request(moment, out),
            // Nothing is wrong: not all of a body is captured.
            Gap::Lost => {}
        }
    }

    fn on_request(&mut self, head: RequestHead, cut: bool, out: &mut Output) {
        if self.may_refute() && self.responses.is_endless() {
            self.refute(self.requests.began.at_ns, out);
        }
        if self.responses.is_uncertain() {
            // The client asks again, so the response before is over.
            if self.answering {
                self.finish(Outcome::Complete, self.responses.last_ns, None, out);
            }
            self.responses.set(Place::Seek(None));
            self.pairing.disprove();
        }
        // Asked though nothing has come since the one before was, be that still open or not known to be any more.
        let other_position = self.requests.began.other_position;
        if self.last_asked.replace(other_position) == Some(other_position) {
            self.on_pipelining(self.requests.began.at_ns, out);
        }
        let unproved = !self.is_in_order();
        if unproved {
            self.end_unproved(self.requests.began.at_ns, out);
            self.pairing.disprove();
        }
        let RequestHead { mut http, framing, mut facts, .. } = head;
        facts.settle(&mut http, out.propagation());
        let (parent, call) = (facts.parent(), facts.call(&http, false));
        http.headers_truncated = cut;
        self.carries_spans = self.role == Role::Client && exports_spans(&http);
        let connects = http.method.as_deref() == Some("CONNECT");
        let (place, length) = request_body(&framing, connects, cut);
        self.requests.set(place);
        http.request_body_bytes = length;
        self.awaits_continue = framing.expects_continue;
        let (began, upgrade) = (self.requests.began, framing.upgrade);
        if !self.open.has_room() {
            self.open.leave_out();
            self.left_out_head |= http.method.as_deref() == Some("HEAD");
            self.anomalies.over_limit += 1;
            self.body_of = u64::MAX;
            return;
        }
        if self.open.is_empty() {
            self.stray = false;
        }
        let (role, thread, start_ns) = (self.role, began.thread, began.at_ns);
        let place = exchange::Place::Position(began.position);
        let is_health_check = out.is_health_check(&http);
        out.carry(role, parent, http.trace_state.as_ref());
        let key =
            out.open(|key| Opened { key, role, thread, start_ns, parent, is_health_check, is_message: false, place });
        let answer = Answer::default();
        let (first_byte_ns, response_tid) = (None, ThreadId::NONE);
        let mut marks = facts.take_marks(&http, out.propagation());
        if let Some(marks) = &mut marks {
            marks.begin(false, framing.chunked);
        }
        let open =
            Open { key, began, unproved, first_byte_ns, response_tid, parent, upgrade, call, answer, http, marks };
        self.body_of = self.open.push(open);
    }

    /// Bytes came that are not of a head: a body that might have been left out was not.
    #[inline]
    fn on_request_body_begun(&mut self) {
        if mem::take(&mut self.awaits_continue) {
            self.requests.doubt(false);
        }
    }

    fn on_request_body(&mut self, total: u64) {
        if let Some(open) = self.open.get_mut(self.body_of) {
            open.http.request_body_bytes = Some(total);
        }
    }

    /// Missing bytes held at least one request.
    fn on_missed_request(&mut self, moment: Moment, out: &mut Output) {
        self.anomalies.resyncs += 1;
        self.requests.tear();
        self.lose(moment.at_ns, out);
    }

    /// The client is seen to ask before it is answered. What was concluded from its not doing so is void.
    fn on_pipelining(&mut self, now: u64, out: &mut Output) {
        self.pipelines = true;
        if self.presumes_turns && matches!(self.pairing, Pairing::InOrder) {
            self.refute(now, out);
        }
    }

    /// Whether the request that has just begun is the first that the next response answers, or one behind those that are
    /// open. After something was missed that is so if it comes after a quiet time, or after an exchange that was seen whole.
    fn is_in_order(&mut self) -> bool {
        let Pairing::Lost(proof) = self.pairing else { return true };
        let began = self.requests.began;
        let quiet_ns = if self.pipelines { PIPELINED_QUIET_NS } else { QUIET_NS };
        // The last to move were responses: else what was asked before may still be open.
        let is_turn = began.other_position == self.answered_to && began.other_position > self.asked_at;
        let is_first = self.requests.last_ns == 0 && self.responses.last_ns == 0;
        let is_quiet = (is_turn || is_first) && began.quiet_ns >= quiet_ns;
        let follows = proof.answered.is_some_and(|(end, asked)| {
            // A client's other thread may have read the response to this request before it was recorded.
            let at_end = began.other_position == end || (self.role == Role::Client && began.other_position > end);
            !self.pipelines && at_end && asked <= began.position
        });
        if !self.open.is_empty() || !(is_quiet || follows) {
            return false;
        }
        self.pairing = Pairing::InOrder;
        self.presumes_turns = !(is_quiet && began.quiet_ns >= PIPELINED_QUIET_NS);
        true
    }

    // ---- responses

    /// Whether what comes next can be nothing but the answer to what was asked first.
    fn is_answer_due(&self, moment: Moment) -> bool {
        let Some(asked) = self.open.front() else { return false };
        self.has_answered || asked.began.position == 0 && moment.position == 0
    }

    fn on_response_bytes(&mut self, bytes: &[u8], mut at_start: bool, moment: Moment, out: &mut Output) {
        let mut rest = bytes;
        while !rest.is_empty() && self.interest == Interest::Parse {
            let moment = moment.behind((bytes.len() - rest.len()) as u64);
            self.look_for_bare_body(rest, moment);
            let was_chunked = self.responses.place == Place::Seek(Some(EndHint::LastChunk));
            let was_head = self.responses.place == Place::Head;
            let was_due = was_head && self.is_answer_due(moment);
            let was_endless = self.responses.is_endless();
            let was_body = matches!(self.responses.place, Place::Body { .. });
            let step = self.responses.bytes(rest, at_start, moment);
            if was_body && let Some(marks) = self.marks_of_answer() {
                marks.take(true, step.of_body(rest));
            }
            if let Step::Head { used, .. } | Step::BodyEnd { used, .. } = step {
                self.response_at = (moment.position.saturating_add(used as u64), moment.other_position);
            }
            let used = match step {
                Step::More => {
                    self.stray |= !self.answering && matches!(self.responses.place, Place::Seek(_));
                    return;
                }
                Step::Head { head, cut, used } => {
                    self.anomalies.over_limit += u64::from(cut);
                    self.on_response(head, cut, moment, out);
                    used
                }
                Step::BodyEnd { total, used } => {
                    self.finish(Outcome::Complete, moment.at_ns, Some(total), out);
                    used
                }
                Step::Found if was_endless && self.may_refute() => {
                    self.refute(moment.at_ns, out);
                    continue;
                }
                Step::Found => {
                    // The piece before did not end with the last chunk, so another response stood behind that.
                    let may_be_later = was_chunked && self.open.len() > 2;
                    self.finish(Outcome::Complete, self.responses.last_ns, None, out);
                    if may_be_later {
                        self.on_missed_responses(moment.at_ns, out);
                    }
                    continue;
                }
                Step::Lost { used } => {
                    self.stray = true;
                    // Where none are used a head begins with them.
                    if was_head && used > 0 && self.may_refute() {
                        self.refute(moment.at_ns, out);
                    } else if was_due && used > 0 {
                        // An answer that cannot be read is one: what comes behind it is for what was asked later.
                        self.on_missed_responses(moment.at_ns, out);
                    } else {
                        self.anomalies.resyncs += 1;
                    }
                    used
                }
            };
            at_start &= used == 0;
            rest = rest.get(used..).unwrap_or_default();
        }
        self.handover.rest = rest.len() as u64;
    }

    fn on_response_gap(&mut self, count: u64, missing: Missing, moment: Moment, out: &mut Output) {
        if matches!(self.responses.place, Place::Body { .. })
            && let Some(marks) = self.marks_of_answer()
        {
            marks.cut(true);
        }
        match self.responses.gap(count) {
            // Where framing is lost already, capture is taken to begin with each head, loss is not.
            Gap::Within if missing.lost && matches!(self.responses.place, Place::Seek(_)) => {
                self.on_missed_response(missing.behind, moment.at_ns, out)
            }
            Gap::Within => self.stray |= !self.answering && matches!(self.responses.place, Place::Seek(_)),
            Gap::BodyEnd { total } => {
                self.response_at = (moment.position.saturating_add(count), moment.other_position);
                self.finish(Outcome::Complete, moment.at_ns, Some(total), out);
            }
            Gap::BodyPassed { total } => {
                self.finish(Outcome::Complete, moment.at_ns, Some(total), out);
                self.on_missed_response(missing.behind, moment.at_ns, out);
            }
            Gap::Cut(head) => {
                self.on_response(head, true, moment, out);
                if missing.lost && self.responses.is_uncertain() {
                    self.on_missed_response(missing.behind, moment.at_ns, out);
                }
            }
            Gap::Missed => self.on_missed_response(missing.behind, moment.at_ns, out),
            Gap::Lost if missing.lost => self.on_missed_response(missing.behind, moment.at_ns, out),
            // Nothing is wrong: not all of a body is captured.
            Gap::Lost => {}
        }
    }

    fn on_response(&mut self, head: ResponseHead, cut: bool, moment: Moment, out: &mut Output) {
        let ResponseHead { status, framing, facts, .. } = head;
        if matches!(status, 100 | 102..=199) {
            self.awaits_continue &= status != 100;
            self.responses.set(if cut { Place::Seek(None) } else { Place::Head });
            return;
        }
        if self.open.is_empty() && self.open.left_out() == 0 && matches!(self.pairing, Pairing::InOrder) {
            // An answer to a request that was not read to its end (408, 431).
            if let Some(head) = self.requests.take_partial() {
                self.on_request(head, true, out);
            }
        }
        let began = self.responses.began;
        if self.open.front().is_some_and(|open| !open.unproved && !self.may_answer(open)) {
            self.anomalies.resyncs += 1;
            self.lose(moment.at_ns, out);
        }
        if self.open.len() > 1 && self.open.front().is_some_and(|open| self.may_answer(open)) {
            self.on_pipelining(moment.at_ns, out);
        }
        self.answering = self.open.front().is_some_and(|open| self.may_answer(open));
        self.has_answered |= self.answering;
        let mut certain = true;
        let mut asked = Asked::Other;
        let first_byte_ns = began.at_ns;
        let answering = self.answering;
        if let Some(open) = self.open.front_mut().filter(|open| answering && open.unproved) {
            asked = Asked::of(&open.http);
            certain = false;
        } else if let Some(open) = self.open.front_mut().filter(|_| answering) {
            asked = Asked::of(&open.http);
            open.http.status = Some(status);
            open.answer = facts.answer();
            if let Some(marks) = &mut open.marks {
                marks.begin(true, framing.chunked);
            }
            facts.give_captured(&mut open.http);
            open.http.headers_truncated |= cut;
            (open.first_byte_ns, open.response_tid) = (Some(first_byte_ns), began.thread.tid);
            // Where it is not known from its beginning on for what it is done.
            if self.role == Role::Server && open.began.thread.work == 0 {
                out.answer(open.key, began.thread);
            }
        } else if self.open.answer_left_out() {
            certain = !self.left_out_head;
            self.left_out_head &= self.open.left_out() > 0;
        } else {
            certain = false;
            self.on_unmatched(moment.at_ns, out);
        }
        self.unmatched &= !answering;
        self.stray = false;
        if status == 101 || (asked == Asked::Connect && (200..300).contains(&status)) {
            self.on_switch(status, &framing, moment, out);
            return;
        }
        let mut place = response_body(status, asked, &framing, cut, certain);
        if self.is_concluded
            && let Some(Place::Body { body: Body::UntilEnd { .. }, certain }) = &mut place
        {
            // That of a HEAD looks like it.
            *certain = false;
        }
        self.responses.set(place.unwrap_or(Place::Head));
        if place.is_none() {
            self.finish(Outcome::Complete, moment.at_ns, Some(0), out);
        } else if cut && let Some(open) = self.open.front_mut().filter(|open| answering && !open.unproved) {
            // Kept should the end not be seen; what is read of the body overrules it.
            open.http.response_body_bytes = match framing.length {
                _ if is_bodyless(status, asked) => Some(0),
                Length::Known(length) if !framing.coded => Some(length),
                _ => None,
            };
        }
    }

    /// A response of HTTP/0.9 is nothing but a body, unless the server answers with one of its own version.
    #[inline]
    fn look_for_bare_body(&mut self, bytes: &[u8], moment: Moment) {
        let Some(open) = self.open.front_mut().filter(|open| open.http.version == HTTP_0_9) else { return };
        let is_due = self.responses.place == Place::Head && self.responses.is_between();
        if is_due && !self.answering && !open.unproved && ResponseHead::recognise(bytes) == Recognition::No {
            open.first_byte_ns = Some(moment.at_ns);
            self.answering = true;
            self.responses.set(Place::Body { body: Body::UntilEnd { total: 0 }, certain: true });
        }
    }

    /// Whether the response that has begun may answer a request: it was recorded later, and did not begin earlier. Of a
    /// client a thread may have read the response before another's request was recorded.
    fn may_answer(&self, open: &Open) -> bool {
        let (asked, answered) = (open.began, self.responses.began);
        answered.other_position > asked.position
            && (self.role == Role::Client || asked.other_position <= answered.position)
    }

    /// A response came that answers no request. One may: it was asked before the connection was met.
    fn on_unmatched(&mut self, now: u64, out: &mut Output) {
        match &mut self.pairing {
            Pairing::Lost(proof) => {
                // Two after one request.
                self.pipelines |= proof.answered.is_some();
                *proof = Proof::default();
            }
            Pairing::InOrder => {
                self.anomalies.unmatched_responses += 1;
                // Answered early, a request can end within what is not captured, and the next stand behind it there.
                let is_hidden = matches!(self.requests.place, Place::Seek(Some(_)));
                if self.open.first() > 0 || mem::replace(&mut self.unmatched, true) {
                    self.pipelines |= !is_hidden;
                    self.anomalies.requests_lost += u64::from(is_hidden);
                    self.lose(now, out);
                    self.answers_hidden = is_hidden;
                }
            }
        }
    }

    /// The connection speaks something else behind this response.
    fn on_switch(&mut self, status: u16, framing: &Framing, moment: Moment, out: &mut Output) {
        let asked = self.open.front().map_or(Upgrade::None, |open| open.upgrade);
        let to = if framing.upgrade == Upgrade::None { asked } else { framing.upgrade };
        self.interest = match (status, to, self.role) {
            (101, Upgrade::H2c, _) => Interest::Switch("http2"),
            (101, ..) | (_, _, Role::Server) => Interest::Nothing,
            // What is asked within a tunnel is asked of its other end; a proxy passes it on.
            _ => Interest::Anew,
        };
        if !matches!(self.interest, Interest::Switch(_)) {
            self.finish(Outcome::Complete, moment.at_ns, Some(0), out);
        } else if self.answering {
            self.handover.request =
                self.pop().map(|open| (open.key, open.end(self.role, Outcome::Unseen, moment.at_ns)));
        }
        self.end_all(Outcome::Unseen, moment.at_ns, out);
    }

    /// Missing bytes may have held responses, and it is not known how many.
    fn on_missed_responses(&mut self, now: u64, out: &mut Output) {
        self.anomalies.resyncs += 1;
        self.lose(now, out);
    }

    /// Missing bytes held at least one response, or the end of one. `behind`: another stood before it in its piece, so
    /// the client pipelines if it has asked for more than that.
    fn on_missed_response(&mut self, behind: bool, now: u64, out: &mut Output) {
        self.pipelines |= behind && !self.open.is_empty();
        self.answering = false;
        self.responses.set(Place::Seek(None));
        self.on_missed_responses(now, out);
    }

    /// Whether it was concluded what answers what, so that it may turn out to be wrong.
    fn may_refute(&self) -> bool {
        self.is_concluded && matches!(self.pairing, Pairing::InOrder)
    }

    /// What comes cannot be, if responses are in order: a body where none is due, or something behind one that goes on to the end.
    /// So a client that keeps as many requests open all the time was taken for one that does not pipeline.
    fn refute(&mut self, now: u64, out: &mut Output) {
        self.anomalies.resyncs += 1;
        self.pipelines = true;
        if let Some(open) = self.open.front_mut() {
            open.unproved = true;
        }
        self.lose(now, out);
    }

    // ---- ends

    fn pop(&mut self) -> Option<Open> {
        let open = self.open.pop()?;
        self.answering = false;
        if self.awaits_continue && self.body_of < self.open.first() {
            // The final response came first, so the client need not send the body (RFC 9110, 10.1.1).
            self.requests.doubt(true);
        }
        Some(open)
    }

    /// Ends the response that is read; nothing if it answers no request that is known.
    fn finish(&mut self, outcome: Outcome, end_ns: u64, body_bytes: Option<u64>, out: &mut Output) {
        if mem::take(&mut self.answering)
            && let Some(mut open) = self.pop()
        {
            if !open.unproved {
                open.http.response_body_bytes = body_bytes.or(open.http.response_body_bytes);
            } else if let Pairing::Lost(proof) = &mut self.pairing {
                proof.answered = (outcome == Outcome::Complete).then_some(self.response_at);
            }
            out.finish(open.key, open.end(self.role, outcome, end_ns));
        } else if mem::take(&mut self.answers_hidden)
            && let Pairing::Lost(proof) = &mut self.pairing
        {
            proof.answered = (outcome == Outcome::Complete).then_some(self.response_at);
        }
    }

    fn end_all(&mut self, outcome: Outcome, end_ns: u64, out: &mut Output) {
        while let Some(open) = self.pop() {
            out.finish(open.key, open.end(self.role, outcome, end_ns));
        }
    }

    /// Something was missed. What is open is unseen, but for a request whose response has begun.
    fn lose(&mut self, now: u64, out: &mut Output) {
        self.pipelines |= self.open.left_out() > 0;
        self.open.forget_left_out();
        self.left_out_head = false;
        self.pairing = Pairing::Lost(Proof::default());
        self.is_concluded = true;
        self.body_of = u64::MAX;
        self.end_unproved(now, out);
    }

    /// Ends all requests of which it is not certain what answers them.
    fn end_unproved(&mut self, now: u64, out: &mut Output) {
        let is_answered = self.answering && self.open.front().is_some_and(|open| !open.unproved);
        for open in self.open.drain_behind(is_answered.into()) {
            out.finish(open.key, Open { unproved: true, ..open }.end(self.role, Outcome::Unseen, now));
        }
        self.answering = is_answered;
    }

    /// No more responses come. `reset`: the connection did not end in good order.
    fn end_of_responses(&mut self, reset: bool, at_ns: u64, out: &mut Output) {
        if self.open.is_empty()
            && self.requests.is_within_head()
            && let Some(head) = self.requests.take_partial()
        {
            self.on_request(head, true, out);
        }
        if self.may_refute() && self.responses.is_endless() && self.open.len() > 1 {
            self.refute(at_ns, out);
        }
        let last_ns = self.responses.last_ns;
        match self.responses.place {
            Place::Head if !self.responses.is_between() => {
                let first_byte_ns = self.responses.began.at_ns;
                let status = self.responses.take_partial().map(|head| head.status);
                if let Some(open) = self.open.front_mut().filter(|open| !open.unproved) {
                    open.first_byte_ns = Some(first_byte_ns);
                    open.http.status = status;
                    self.answering = true;
                    self.finish(Outcome::Cut, at_ns, None, out);
                }
            }
            Place::Body { body: Body::UntilEnd { total }, .. } if !reset => {
                self.finish(Outcome::Complete, last_ns, Some(total), out);
            }
            Place::Body { body: Body::UntilEnd { .. }, .. } | Place::Body { certain: true, .. } => {
                self.finish(Outcome::Cut, at_ns, None, out);
            }
            _ if reset => self.finish(Outcome::Unseen, at_ns, None, out),
            _ => self.finish(Outcome::Complete, last_ns, None, out),
        }
        self.responses.set(Place::Seek(None));
        let unanswered = if self.stray { Outcome::Unseen } else { Outcome::NoResponse };
        self.end_all(unanswered, at_ns, out);
    }
}

impl Session for Http1 {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        if self.interest != Interest::Parse || chunk.is_empty() {
            return self.interest;
        }
        let (data, tail, lost) = (chunk.data, chunk.tail, chunk.lost);
        let moment = Moment {
            at_ns: chunk.at_ns,
            thread: chunk.thread,
            position: chunk.position,
            other_position: chunk.other_position,
            quiet_ns: chunk.quiet_ns.min(chunk.at_ns.saturating_sub(self.responses.last_ns)),
        };
        let at_tail = moment.behind(chunk.len() - tail.len() as u64);
        let gap = chunk.skipped.saturating_sub(tail.len() as u64);
        // A tail is cut to 32 bytes; a shorter one behind a gap is the writer's last buffer, in which a last chunk stands alone.
        let last_chunk = gap > 0 && tail.len() < 32 && tail.starts_with(b"0\r\n");
        let tail_at_start = (data.is_empty() && gap == 0) || last_chunk;
        if direction == self.role.requests() {
            self.on_request_bytes(data, true, moment, out);
            if gap > 0 {
                self.on_request_gap(gap, lost, moment.behind(data.len() as u64), out);
            }
            self.on_request_bytes(tail, tail_at_start, at_tail, out);
            self.asked_at = chunk.other_position;
            if self.requests.piece_end(chunk) {
                // A chunked body whose framing was lost: its size stays unknown.
                self.body_of = u64::MAX;
            }
        } else {
            self.answered_to = chunk.position.saturating_add(chunk.len());
            self.on_response_bytes(data, true, moment, out);
            if self.interest != Interest::Parse {
                self.handover.rest += chunk.skipped;
                return self.interest;
            }
            if gap > 0 {
                let missing = Missing { lost, behind: !lost && !data.is_empty() };
                self.on_response_gap(gap, missing, moment.behind(data.len() as u64), out);
            }
            self.on_response_bytes(tail, tail_at_start, at_tail, out);
            if self.responses.piece_end(chunk) {
                self.response_at = (self.answered_to, chunk.other_position);
                self.finish(Outcome::Complete, chunk.at_ns, None, out);
            }
        }
        self.interest
    }

    fn role(&self) -> Role {
        self.role
    }

    fn begin_in_use(&mut self, asks_ahead: bool) {
        self.pipelines |= asks_ahead;
        self.pairing = Pairing::Lost(Proof::default());
        self.is_concluded = true;
        self.requests.tear();
        self.responses.tear();
    }

    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output) {
        if self.interest == Interest::Parse && direction != self.role.requests() {
            self.end_of_responses(false, at_ns, out);
        }
    }

    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Output) {
        if self.interest != Interest::Parse {
            return;
        }
        match end {
            End::Closed => self.end_of_responses(false, at_ns, out),
            End::Reset => self.end_of_responses(true, at_ns, out),
            End::Forgotten => self.end_all(Outcome::Unseen, at_ns, out),
        }
    }

    fn open_requests(&self) -> usize {
        self.open.len()
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        for open in self.open.iter() {
            let group = if open.call.is_some() { Group::Rpc } else { Group::Http };
            each(group, open.http.method.as_deref());
        }
    }

    fn memory(&self) -> usize {
        let sides = self.requests.memory() + self.responses.memory();
        size_of::<Self>() + sides + self.open.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }

    fn hand_over(&mut self) -> Handover {
        mem::take(&mut self.handover)
    }
}
