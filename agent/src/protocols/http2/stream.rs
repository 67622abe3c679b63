//! One stream: a request and what was seen of its response.

use super::{
    super::{
        Output,
        grpc::{self, Media},
        http::{Answer, Call, Message},
        matching::Kept,
    },
    Side,
    head::{First, Head},
    hpack::identity,
    names::UnknownNames,
};
use crate::model::{
    exchange::{Exchange, Http, Inside, Key, Opened, Outcome, Pattern, Place},
    ids::ThreadId,
    net::{Role, Thread},
};

/// When a header block was moved, and by whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    /// First byte of the HEADERS frame.
    pub(super) first_ns: u64,
    /// The piece that completes it.
    pub(super) last_ns: u64,
    /// Who moved the first byte.
    pub(super) thread: Thread,
}

/// Bytes of a body as DATA frames tell them; `None` once that is not certain.
#[derive(Clone, Copy, Debug)]
struct Body(Option<u64>);

impl Body {
    fn add(&mut self, payload: Option<u64>) {
        self.0 = self.0.zip(payload).and_then(|(so_far, payload)| so_far.checked_add(payload));
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Stream {
    /// It was told.
    pub(super) key: Option<Key>,
    request: Head,
    unknown_name: Option<u64>,
    start_ns: u64,
    thread: Thread,
    request_ended: bool,
    request_body: Body,
    /// Of a call by which spans are exported, or may be: its message.
    message: Option<Box<Message>>,
    first_byte_ns: Option<u64>,
    /// The headers of the (final, as far as known) response were seen.
    has_head: bool,
    status: Option<u16>,
    status_unknown: bool,
    answer: Answer,
    /// The response may have a content type that is not known.
    media_unknown: bool,
    /// It ended with DATA: a call's ends with trailers.
    ended_by_data: bool,
    /// `grpc-status` came in trailers.
    grpc_trailers: bool,
    /// It may have come among what is not known of the response.
    grpc_status_unknown: bool,
    data_seen: bool,
    response_body: Body,
    /// Its `content-length`.
    response_length: Option<u64>,
    /// When all of that had come. A client need not wait for the stream's end then, which may be a frame of its own.
    whole_at_ns: Option<u64>,
    /// It may have one that is not known.
    length_unknown: bool,
    response_ended: bool,
    /// Bytes of responses were lost while it was open: its response's end may have been among them.
    end_lost: bool,
    /// Bytes of requests were lost while it was open: its cancellation may have been among them.
    reset_lost: bool,
}

impl Stream {
    /// The request's method.
    pub(super) fn method(&self) -> Option<&str> {
        self.request.http.method.as_deref()
    }

    pub(super) fn new(request: Head, unknown_name: Option<u64>, moved: Moved, ended: bool) -> Self {
        Self {
            key: None,
            request,
            unknown_name,
            start_ns: moved.first_ns,
            thread: moved.thread,
            request_ended: ended,
            request_body: Body(Some(0)),
            message: None,
            first_byte_ns: None,
            has_head: false,
            status: None,
            status_unknown: false,
            answer: Answer::default(),
            media_unknown: true,
            ended_by_data: false,
            grpc_trailers: false,
            grpc_status_unknown: false,
            data_seen: false,
            response_body: Body(Some(0)),
            response_length: None,
            whole_at_ns: None,
            length_unknown: false,
            response_ended: false,
            end_lost: false,
            reset_lost: false,
        }
    }

    /// Whether it is of somebody who looks whether the service is well.
    pub(super) fn is_health_check(&self, out: &Output) -> bool {
        out.is_health_check(&self.request.http)
    }

    /// Tells that it has begun, once.
    pub(super) fn tell(&mut self, id: u32, role: Role, out: &mut Output) {
        let (thread, start_ns, parent) = (self.thread, self.start_ns, self.request.facts.parent());
        let place = Place::Id(id.into());
        let http = &self.request.http;
        self.key.get_or_insert_with(|| {
            let is_health_check = out.is_health_check(http);
            out.carry(role, parent, http.trace_state.as_ref());
            out.open(|key| Opened { key, role, thread, start_ns, parent, is_health_check, is_message: false, place })
        });
    }

    pub(super) fn on_request_data(&mut self, payload: Option<u64>, end: bool) {
        self.request_body.add(payload);
        self.request_ended |= end;
    }

    /// It is made by the process that is watched, which may export spans by it. `is_named`: only one that says so is of interest.
    pub(super) fn on_own(&mut self, is_named: bool) {
        let Http { method, target, .. } = &self.request.http;
        let message = Message::of(method.as_deref(), target.as_deref());
        self.message = message.filter(|message| !(is_named && message.is_unnamed())).map(Box::new);
    }

    /// Bytes of what it carries; `None`: some were not captured.
    pub(super) fn on_content(&mut self, bytes: Option<&[u8]>) {
        match (&mut self.message, bytes) {
            (Some(message), Some(bytes)) => message.take(bytes),
            (Some(message), None) => message.cut(),
            (None, _) => {}
        }
    }

    /// What it carries, if that is of interest.
    pub(super) fn message(&self) -> Option<&Message> {
        self.message.as_deref()
    }

    pub(super) fn on_request_end(&mut self) {
        self.request_ended = true;
    }

    pub(super) fn on_response_data(&mut self, payload: Option<u64>, end: bool, at_ns: u64) {
        self.data_seen = true;
        self.response_ended |= end;
        self.ended_by_data |= end;
        self.end_lost = false;
        self.response_body.add(payload);
        if self.response_length.is_some() && self.response_body.0 == self.response_length {
            self.whole_at_ns.get_or_insert(at_ns);
        }
    }

    pub(super) fn on_response_block(&mut self, head: &Head, moved: Moved, end: bool) {
        let is_interim = matches!(head.http.status, Some(100..=199)) && !end;
        // Only trailers end a stream after the headers of a response, and only interim responses precede those. So a
        // second block that does not end the stream shows that the first was an interim response of unknown status.
        let shows_interim = self.status_unknown && !self.data_seen && (!end || head.first == First::Status);
        let is_trailers = end
            && (head.first == First::Regular
                || self.has_head && !shows_interim
                || self.end_lost && head.http.status.is_none());
        self.end_lost = false;
        self.response_ended |= end;
        if is_interim {
            return;
        }
        if is_trailers {
            self.grpc_trailers |= head.facts.grpc_status.is_some();
        } else if !self.has_head || shows_interim {
            if !self.data_seen {
                // All of its body is still to come, whatever was lost before.
                self.response_body = Body(Some(0));
            }
            self.has_head = true;
            self.first_byte_ns = Some(moved.first_ns);
            self.status = head.http.status;
            self.status_unknown = head.http.status.is_none();
            self.answer.media = head.facts.media;
            head.facts.give_captured(&mut self.request.http);
            // A call is over with its trailers, whatever came before.
            self.response_length = head.content_length.filter(|_| head.facts.media != Some(Media::Grpc));
            self.length_unknown = head.content_length.is_none()
                && head.facts.media != Some(Media::Grpc)
                && (head.any_unknown || head.cut);
            self.media_unknown = head.facts.media.is_none() && (head.any_unknown || head.cut);
        }
        if let Some(status) = head.facts.grpc_status {
            self.answer.grpc_status = Some(status);
        }
        self.grpc_status_unknown |= head.any_unknown || head.cut;
    }

    /// Whether a call of gRPC was answered in whole, with 200, and without a status that can be read. Clients take that for
    /// `UNKNOWN` (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
    fn is_without_grpc_status(&self, call: Call, outcome: Outcome) -> bool {
        call.system == grpc::GRPC
            && outcome == Outcome::Complete
            && self.response_ended
            && self.status == Some(200)
            && self.answer.grpc_status.is_none()
            && !self.grpc_status_unknown
    }

    /// Bytes of one of the directions were lost.
    pub(super) fn on_loss(&mut self, side: Side) {
        match side {
            Side::Requests => {
                self.reset_lost = true;
                self.request_body = Body(None);
                self.on_content(None);
            }
            Side::Responses => {
                self.end_lost = true;
                self.response_body = Body(None);
            }
        }
    }

    pub(super) const fn has_response(&self) -> bool {
        self.has_head || self.data_seen
    }

    /// How it ended if its response did.
    pub(super) const fn ended(&self) -> Outcome {
        if self.has_head { Outcome::Complete } else { Outcome::Unseen }
    }

    /// How it ended if the connection did.
    pub(super) const fn cut_off(&self) -> Outcome {
        match (self.is_doubtful(), self.has_response()) {
            _ if self.is_whole() => Outcome::Complete,
            (true, _) => Outcome::Unseen,
            (false, true) => Outcome::Cut,
            (false, false) => Outcome::NoResponse,
        }
    }

    /// How it ended if nobody looks any more.
    pub(super) const fn forgotten(&self) -> Outcome {
        if self.is_whole() { Outcome::Complete } else { Outcome::Unseen }
    }

    /// How it ended if it was reset, by whom and with what code.
    pub(super) const fn reset(&self, side: Side, code: u32) -> Outcome {
        /// `NO_ERROR`, `CANCEL`: it is not needed any more (RFC 9113, section 7).
        const WITHOUT_ERROR: [u32; 2] = [0, 8];
        match (self.is_doubtful(), side) {
            _ if self.is_whole() => Outcome::Complete,
            (true, _) => Outcome::Unseen,
            (false, side) => {
                let by = if matches!(side, Side::Requests) { Role::Client } else { Role::Server };
                let is_error = code != WITHOUT_ERROR[0] && code != WITHOUT_ERROR[1];
                if is_error { Outcome::Reset(by, code) } else { Outcome::Cancelled(by, code) }
            }
        }
    }

    /// All of the response may have come though its end was not seen: bytes were lost, or what says how long it is.
    const fn is_doubtful(&self) -> bool {
        let may_be_whole = self.response_length.is_some() && self.response_body.0.is_none();
        may_be_whole || self.end_lost || self.reset_lost || self.length_unknown || (self.data_seen && !self.has_head)
    }

    /// All of the response's body came, though nothing ended its stream.
    const fn is_whole(&self) -> bool {
        self.has_head && self.whole_at_ns.is_some()
    }

    pub(super) fn into_exchange(
        mut self: Box<Self>,
        role: Role,
        outcome: Outcome,
        end_ns: u64,
        names: &mut UnknownNames,
    ) -> Exchange {
        let call = self.call(names);
        let end_ns = match self.whole_at_ns {
            Some(at_ns) if outcome == Outcome::Complete && !self.response_ended => at_ns,
            _ => end_ns,
        };
        if let (Some(grpc::GRPC), Some(name)) = (call.map(|call| call.system), self.unknown_name) {
            names.set_grpc(name);
        }
        if call.is_some_and(|call| self.is_without_grpc_status(call, outcome)) {
            self.answer.grpc_status = Some(grpc::UNKNOWN);
        }
        if call.is_none() && self.may_be_call() {
            // A method and a status would say that it is none, and that it succeeded.
            let number = self.unknown_name.unwrap_or_else(|| identity(&("may be a call", &self.request.http.target)));
            (self.request.http.method, self.status, self.unknown_name) = (None, None, Some(number));
        }
        let parent = self.request.facts.parent();
        let is_tunnel = self.request.is_tunnel();
        let Head { mut http, authority, content_length, cut, .. } = self.request;
        if is_tunnel && call.is_none() {
            http.target.clone_from(&authority);
        }
        http.version = "2";
        http.unknown_name = self.unknown_name;
        http.host = authority.or(http.host);
        http.status = self.status;
        http.request_body_bytes = self.request_body.0.filter(|_| self.request_ended).or(content_length);
        http.response_body_bytes = self.response_body.0.filter(|_| outcome == Outcome::Complete);
        http.headers_truncated = cut;
        http.exported_kinds = self.message.map(|message| message.kinds()).unwrap_or_default();
        let (protocol, operation) = self.answer.tell(Box::new(http), call, None, super::NAME);
        Exchange {
            role,
            thread: self.thread,
            start_ns: self.start_ns,
            first_byte_ns: self.first_byte_ns,
            response_tid: ThreadId::NONE,
            end_ns,
            outcome,
            parent,
            protocol,
            pattern: Pattern::RequestResponse,
            operation,
            inside: Inside::default(),
        }
    }

    /// The call, if the exchange certainly is one.
    pub(super) fn call(&self, names: &UnknownNames) -> Option<Call> {
        let Head { http, facts, any_unknown, cut, .. } = &self.request;
        let call = facts.call(http, true);
        if call.is_some() || facts.media.is_some() || !(*any_unknown || *cut) {
            return call;
        }
        if let Some(call) = self.answer.media.and_then(|media| facts.call_of(media)) {
            return Some(call);
        }
        // gRPC-Web has no HTTP trailers, and browsers may not send `te`.
        let is_grpc = self.grpc_trailers
            || http.user_agent.as_deref().is_some_and(grpc::is_grpc_agent)
            || (facts.te_trailers && facts.grpc_field)
            || self.unknown_name.is_some_and(|name| names.is_grpc(name));
        is_grpc.then(|| facts.as_call(grpc::GRPC))
    }

    /// Whether it may be a call of gRPC though nothing says so: what would is not known. A call asks by POST for a service
    /// and its method, is answered with 200 whatever comes of it, and ends with trailers.
    fn may_be_call(&self) -> bool {
        let Head { http, facts, any_unknown, cut, .. } = &self.request;
        let is_call_path = |path: &str| {
            let mut segments = path.strip_prefix('/').unwrap_or_default().split('/');
            let is_pair = [segments.next(), segments.next()].iter().all(|it| it.is_some_and(|it| !it.is_empty()));
            is_pair && segments.next().is_none() && !path.contains('?')
        };
        facts.media.is_none()
            && (*any_unknown || *cut)
            && http.method.as_deref().is_none_or(|method| method == "POST")
            && http.target.as_deref().is_none_or(|path| http.target_truncated || is_call_path(path))
            && self.status.is_none_or(|status| status == 200)
            && self.media_unknown
            && !self.ended_by_data
    }
}

impl Kept for Stream {
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.request.heap() + self.message.as_ref().map_or(0, |_| Message::BYTES_MAX)
    }
}
