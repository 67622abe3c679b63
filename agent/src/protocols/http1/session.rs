//! Matching responses with requests.

use std::{collections::VecDeque, mem};

use super::{
    body::Body,
    framing::{Asked, is_bodyless, request_body, response_body},
    head::{Call, Framing, Kind, Length, RequestHead, ResponseHead, Upgrade},
    side::{Gap, Moment, Place, Side, Step},
};
use crate::{
    model::{
        exchange::{Detail, Exchange, Http, Outcome, Rpc},
        net::{Direction, Role},
        trace_context::TraceParent,
    },
    protocols::{Anomalies, Chunk, End, Handover, Interest, Session, grpc},
};

/// Requests of a connection that may wait for their response at a time.
const MAX_OPEN: usize = 1024;
/// Bytes of strings they may hold.
const MAX_OPEN_BYTES: usize = 512 * 1024;

/// One HTTP/1 connection.
pub(super) struct Http1 {
    role: Role,
    requests: Side<RequestHead>,
    responses: Side<ResponseHead>,
    open: VecDeque<Open>,
    /// Bytes of strings that `open` holds.
    open_bytes: usize,
    /// Requests that were not kept, behind those in `open`.
    overflow: u64,
    /// One of them was a HEAD, so how their responses are framed is not known.
    overflow_head: bool,
    /// Number of the first of `open`, counted from the connection's beginning.
    first: u64,
    /// Number of the request whose body is read.
    body_of: u64,
    /// It expects a `100 Continue`, and neither that nor a byte of its body has come.
    awaits_continue: bool,
    /// The response that is read is the first request's.
    answering: bool,
    /// Bytes that are no response came while a request waited for one.
    stray: bool,
    /// A response began while more than one request was open.
    pipelines: bool,
    /// Requests may have been missed behind those that are open.
    missed_behind: bool,
    /// Which response answers which request cannot be known any more.
    order_lost: bool,
    interest: Interest,
    handover: Handover,
    anomalies: Anomalies,
}

/// A request that waits for the end of its response.
struct Open {
    began: Moment,
    first_byte_ns: Option<u64>,
    parent: Option<TraceParent>,
    upgrade: Upgrade,
    /// It is a call.
    call: Option<Call>,
    http: Box<Http>,
}

impl Open {
    fn end(self, role: Role, outcome: Outcome, end_ns: u64) -> Exchange {
        Exchange {
            role,
            thread: self.began.thread,
            start_ns: self.began.at_ns,
            first_byte_ns: self.first_byte_ns,
            end_ns,
            outcome,
            parent: self.parent,
            detail: match self.call {
                Some(call) => Detail::Rpc(Box::new(rpc(call, *self.http))),
                None => Detail::Http(self.http),
            },
        }
    }

    fn bytes(&self) -> usize {
        let text = |text: &Option<compact_str::CompactString>| text.as_ref().map_or(0, |text| text.len());
        size_of::<Http>()
            + text(&self.http.target)
            + text(&self.http.host)
            + text(&self.http.user_agent)
            + text(&self.http.trace_state)
    }
}

fn rpc(call: Call, http: Http) -> Rpc {
    let target = http.target.filter(|_| !http.target_truncated);
    Rpc {
        system: if call.kind == Kind::GrpcWeb { grpc::GRPC_WEB } else { grpc::CONNECT },
        version: http.version,
        method: target.map(|target| grpc::web_method(&target)),
        host: http.host,
        user_agent: http.user_agent,
        trace_state: http.trace_state,
        // That of a stream comes within its body, and so does that of gRPC-Web where there is a message.
        status: match call.kind {
            Kind::ConnectUnary => http.status.and_then(|status| grpc::connect_unary_status(status, call.answer)),
            Kind::ConnectStream => None,
            Kind::GrpcWeb => call.status,
        },
        http_status: http.status.filter(|&status| status != 200),
        timeout_ns: call.timeout_ns,
        unknown_name: None,
    }
}

impl Http1 {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            requests: Side::new(),
            responses: Side::new(),
            open: VecDeque::new(),
            open_bytes: 0,
            overflow: 0,
            overflow_head: false,
            first: 0,
            body_of: u64::MAX,
            awaits_continue: false,
            answering: false,
            stray: false,
            pipelines: false,
            missed_behind: false,
            order_lost: false,
            interest: Interest::Parse,
            handover: Handover::default(),
            anomalies: Anomalies::default(),
        }
    }

    // ---- requests

    fn on_request_bytes(&mut self, bytes: &[u8], mut at_start: bool, moment: Moment, out: &mut Vec<Exchange>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.requests.bytes(rest, at_start, moment) {
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

    fn on_request_gap(&mut self, count: u64, moment: Moment, out: &mut Vec<Exchange>) {
        match self.requests.gap(count) {
            Gap::Within => self.on_request_body_begun(),
            Gap::BodyEnd { total } => self.on_request_body(total),
            Gap::BodyPassed { total } => {
                self.on_request_body(total);
                self.on_missed_request(moment, out);
            }
            Gap::Cut(head) => self.on_request(head, true, out),
            Gap::Missed => self.on_missed_request(moment, out),
            Gap::Lost => self.anomalies.resyncs += 1,
        }
    }

    fn on_request(&mut self, head: RequestHead, cut: bool, out: &mut Vec<Exchange>) {
        if self.responses.is_uncertain() {
            // The client asks again, so the response before is over.
            if self.answering {
                self.finish(Outcome::Complete, self.responses.last_ns, None, out);
            }
            self.responses.set(Place::Seek(None));
        }
        let (parent, call) = (head.parent(), head.call());
        let RequestHead { mut http, framing, .. } = head;
        http.headers_truncated = cut;
        let connects = http.method.as_deref() == Some("CONNECT");
        let (place, length) = request_body(&framing, connects, cut);
        self.requests.set(place);
        http.request_body_bytes = length;
        self.awaits_continue = framing.expects_continue;
        let open =
            Open { began: self.requests.began, first_byte_ns: None, parent, upgrade: framing.upgrade, call, http };
        if self.order_lost {
            out.push(open.end(self.role, Outcome::Unseen, self.requests.began.at_ns));
            return;
        }
        if self.overflow > 0 || self.open.len() >= MAX_OPEN || self.open_bytes > MAX_OPEN_BYTES {
            self.overflow += 1;
            self.overflow_head |= open.http.method.as_deref() == Some("HEAD");
            self.anomalies.over_limit += 1;
            self.body_of = u64::MAX;
            return;
        }
        if self.open.is_empty() {
            self.stray = false;
        }
        self.body_of = self.first + self.open.len() as u64;
        self.open_bytes += open.bytes();
        if self.open.capacity() == 0 {
            self.open.reserve_exact(1);
        }
        self.open.push_back(open);
    }

    /// Bytes came that are not of a head: a body that might have been left out was not.
    #[inline]
    fn on_request_body_begun(&mut self) {
        if mem::take(&mut self.awaits_continue) {
            self.requests.doubt(false);
        }
    }

    fn on_request_body(&mut self, total: u64) {
        let at = self.body_of.checked_sub(self.first).and_then(|at| usize::try_from(at).ok());
        if let Some(open) = at.and_then(|at| self.open.get_mut(at)) {
            open.http.request_body_bytes = Some(total);
        }
    }

    /// Missing bytes held at least one request.
    fn on_missed_request(&mut self, moment: Moment, out: &mut Vec<Exchange>) {
        self.anomalies.resyncs += 1;
        if self.pipelines || self.overflow > 0 {
            self.lose_order(moment.at_ns, out);
        } else {
            // If what is open is answered nonetheless, the client pipelines. If it is not, its response was missed as
            // well, and that will show before the next one.
            self.missed_behind = !self.open.is_empty();
        }
    }

    // ---- responses

    fn on_response_bytes(&mut self, bytes: &[u8], mut at_start: bool, moment: Moment, out: &mut Vec<Exchange>) {
        let mut rest = bytes;
        while !rest.is_empty() && self.interest == Interest::Parse {
            let used = match self.responses.bytes(rest, at_start, moment) {
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
                Step::Found => {
                    self.finish(Outcome::Complete, self.responses.last_ns, None, out);
                    continue;
                }
                Step::Lost { used } => {
                    self.anomalies.resyncs += 1;
                    self.stray = true;
                    used
                }
            };
            at_start &= used == 0;
            rest = rest.get(used..).unwrap_or_default();
        }
        self.handover.rest = rest.len() as u64;
    }

    fn on_response_gap(&mut self, count: u64, missing: Missing, moment: Moment, out: &mut Vec<Exchange>) {
        match self.responses.gap(count) {
            // Where framing is lost already, capture is taken to begin with each head, loss is not.
            Gap::Within if missing.lost && matches!(self.responses.place, Place::Seek(_)) => {
                self.on_missed_response(missing.behind, moment.at_ns, out)
            }
            Gap::Within => self.stray |= !self.answering && matches!(self.responses.place, Place::Seek(_)),
            Gap::BodyEnd { total } => self.finish(Outcome::Complete, moment.at_ns, Some(total), out),
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
            Gap::Lost => self.anomalies.resyncs += 1,
        }
    }

    fn on_response(&mut self, head: ResponseHead, cut: bool, moment: Moment, out: &mut Vec<Exchange>) {
        let ResponseHead { status, framing, media, grpc_status, .. } = head;
        if matches!(status, 100 | 102..=199) {
            self.awaits_continue &= status != 100;
            self.responses.set(if cut { Place::Seek(None) } else { Place::Head });
            return;
        }
        if self.open.is_empty() && self.overflow == 0 && !self.order_lost {
            // An answer to a request that was not read to its end (408, 431).
            if let Some(head) = self.requests.take_partial() {
                self.on_request(head, true, out);
            }
        }
        self.answering = !self.open.is_empty();
        let mut certain = true;
        let mut asked = Asked::Other;
        let first_byte_ns = self.responses.began.at_ns;
        if let Some(open) = self.open.front_mut() {
            asked = Asked::of(&open.http);
            open.http.status = Some(status);
            if let Some(call) = &mut open.call {
                (call.answer, call.status) = (media, grpc_status);
            }
            open.http.headers_truncated |= cut;
            open.first_byte_ns = Some(first_byte_ns);
            self.pipelines |= self.open.len() > 1;
        } else if self.overflow > 0 {
            self.overflow -= 1;
            certain = !self.overflow_head;
            self.overflow_head &= self.overflow > 0;
        } else {
            certain = false;
            self.anomalies.unmatched_responses += u64::from(!self.order_lost);
        }
        if self.missed_behind && self.answering {
            self.lose_order_behind_first(moment.at_ns, out);
        }
        self.stray = false;
        if status == 101 || (asked == Asked::Connect && (200..300).contains(&status)) {
            self.on_switch(status, &framing, moment, out);
            return;
        }
        let place = response_body(status, asked, &framing, cut, certain);
        self.responses.set(place.unwrap_or(Place::Head));
        if place.is_none() {
            self.finish(Outcome::Complete, moment.at_ns, Some(0), out);
        } else if cut && let Some(open) = self.open.front_mut() {
            // Kept should the end not be seen; what is read of the body overrules it.
            open.http.response_body_bytes = match framing.length {
                _ if is_bodyless(status, asked) => Some(0),
                Length::Known(length) if !framing.coded => Some(length),
                _ => None,
            };
        }
    }

    /// The connection speaks something else behind this response.
    fn on_switch(&mut self, status: u16, framing: &Framing, moment: Moment, out: &mut Vec<Exchange>) {
        let asked = self.open.front().map_or(Upgrade::None, |open| open.upgrade);
        let to = if framing.upgrade == Upgrade::None { asked } else { framing.upgrade };
        self.interest = if status == 101 && to == Upgrade::H2c { Interest::Switch("http2") } else { Interest::Nothing };
        if self.interest == Interest::Nothing {
            self.finish(Outcome::Complete, moment.at_ns, Some(0), out);
        } else if self.answering {
            self.handover.request = self.pop().map(|open| open.end(self.role, Outcome::Unseen, moment.at_ns));
        }
        self.end_all(Outcome::Unseen, moment.at_ns, out);
    }

    /// Missing bytes held at least one response, or the end of one. `behind`: another stood before it in its piece, so
    /// the client pipelines if it has asked for more than that.
    fn on_missed_response(&mut self, behind: bool, now: u64, out: &mut Vec<Exchange>) {
        self.anomalies.resyncs += 1;
        if self.pipelines || self.overflow > 0 || (behind && !self.open.is_empty()) {
            self.order_lost = true;
        }
        self.overflow = 0;
        self.missed_behind = false;
        self.responses.set(Place::Seek(None));
        self.end_all(Outcome::Unseen, now, out);
    }

    // ---- ends

    fn pop(&mut self) -> Option<Open> {
        let open = self.open.pop_front()?;
        self.first += 1;
        self.open_bytes = if self.open.is_empty() { 0 } else { self.open_bytes.saturating_sub(open.bytes()) };
        self.answering = false;
        if self.awaits_continue && self.body_of < self.first {
            // The final response came first, so the client need not send the body (RFC 9110, 10.1.1).
            self.requests.doubt(true);
        }
        Some(open)
    }

    /// Ends the response that is read; nothing if it answers no request that is known.
    fn finish(&mut self, outcome: Outcome, end_ns: u64, body_bytes: Option<u64>, out: &mut Vec<Exchange>) {
        if mem::take(&mut self.answering)
            && let Some(mut open) = self.pop()
        {
            open.http.response_body_bytes = body_bytes.or(open.http.response_body_bytes);
            out.push(open.end(self.role, outcome, end_ns));
        }
    }

    fn end_all(&mut self, outcome: Outcome, end_ns: u64, out: &mut Vec<Exchange>) {
        while let Some(open) = self.pop() {
            out.push(open.end(self.role, outcome, end_ns));
        }
    }

    fn lose_order(&mut self, now: u64, out: &mut Vec<Exchange>) {
        self.order_lost = true;
        self.overflow = 0;
        self.end_all(Outcome::Unseen, now, out);
    }

    fn lose_order_behind_first(&mut self, now: u64, out: &mut Vec<Exchange>) {
        self.order_lost = true;
        self.missed_behind = false;
        self.overflow = 0;
        for open in self.open.drain(1.min(self.open.len())..) {
            out.push(open.end(self.role, Outcome::Unseen, now));
        }
    }

    /// No more responses come. `reset`: the connection did not end in good order.
    fn end_of_responses(&mut self, reset: bool, at_ns: u64, out: &mut Vec<Exchange>) {
        if self.open.is_empty()
            && self.requests.is_within_head()
            && let Some(head) = self.requests.take_partial()
        {
            self.on_request(head, true, out);
        }
        let last_ns = self.responses.last_ns;
        match self.responses.place {
            Place::Head if !self.responses.is_between() => {
                let first_byte_ns = self.responses.began.at_ns;
                let status = self.responses.take_partial().map(|head| head.status);
                if let Some(open) = self.open.front_mut() {
                    open.first_byte_ns = Some(first_byte_ns);
                    open.http.status = status;
                    self.answering = true;
                    self.finish(Outcome::Cut, at_ns, None, out);
                }
            }
            Place::Body { body: Body::UntilEnd { total }, .. } if !reset => {
                self.finish(Outcome::Complete, last_ns, Some(total), out);
            }
            Place::Body { certain: true, .. } => self.finish(Outcome::Cut, at_ns, None, out),
            _ if reset => self.finish(Outcome::Unseen, at_ns, None, out),
            _ => self.finish(Outcome::Complete, last_ns, None, out),
        }
        self.responses.set(Place::Seek(None));
        let unanswered = if self.stray { Outcome::Unseen } else { Outcome::NoResponse };
        self.end_all(unanswered, at_ns, out);
    }
}

/// What is known of bytes that were not captured.
#[derive(Clone, Copy)]
struct Missing {
    /// They were not left out on purpose.
    lost: bool,
    /// Captured bytes stand before them in their piece.
    behind: bool,
}

impl Session for Http1 {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Vec<Exchange>) -> Interest {
        if self.interest != Interest::Parse || chunk.is_empty() {
            return self.interest;
        }
        let moment = Moment { at_ns: chunk.at_ns, thread: chunk.thread };
        let (data, tail, lost) = (chunk.data, chunk.tail, chunk.lost);
        let gap = chunk.skipped.saturating_sub(tail.len() as u64);
        // A tail is cut to 32 bytes; a shorter one behind a gap is the writer's last buffer, in which a last chunk stands alone.
        let last_chunk = gap > 0 && tail.len() < 32 && tail.starts_with(b"0\r\n");
        let tail_at_start = (data.is_empty() && gap == 0) || last_chunk;
        if direction == self.role.requests() {
            self.on_request_bytes(data, true, moment, out);
            if gap > 0 {
                self.on_request_gap(gap, moment, out);
            }
            self.on_request_bytes(tail, tail_at_start, moment, out);
            if self.requests.piece_end(chunk) {
                // A chunked body whose framing was lost: its size stays unknown.
                self.body_of = u64::MAX;
            }
        } else {
            self.on_response_bytes(data, true, moment, out);
            if self.interest != Interest::Parse {
                self.handover.rest += chunk.skipped;
                return self.interest;
            }
            if gap > 0 {
                let missing = Missing { lost, behind: !lost && !data.is_empty() };
                self.on_response_gap(gap, missing, moment, out);
            }
            self.on_response_bytes(tail, tail_at_start, moment, out);
            if self.responses.piece_end(chunk) {
                self.finish(Outcome::Complete, chunk.at_ns, None, out);
            }
        }
        self.interest
    }

    fn role(&self) -> Role {
        self.role
    }

    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Vec<Exchange>) {
        if self.interest == Interest::Parse && direction != self.role.requests() {
            self.end_of_responses(false, at_ns, out);
        }
    }

    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Vec<Exchange>) {
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

    fn open_methods(&self, each: &mut dyn FnMut(Option<&str>)) {
        self.open.iter().for_each(|open| each(open.http.method.as_deref()));
    }

    fn memory(&self) -> usize {
        let sides = self.requests.memory() + self.responses.memory();
        size_of::<Self>() + sides + self.open.capacity() * size_of::<Open>() + self.open_bytes
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }

    fn hand_over(&mut self) -> Handover {
        mem::take(&mut self.handover)
    }
}
