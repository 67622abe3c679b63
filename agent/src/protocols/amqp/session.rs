//! What moves over a connection.

use std::{collections::BTreeMap, mem};

use compact_str::CompactString;

use super::{
    BODY, FRAME_END, HEADER, METHOD, NAME,
    channel::{Channel, Consumer, Content, Get, WAITING_MAX, What, destination, is_made_up},
    content::{self, Header},
    length,
    method::{self, Method, Route},
    recognise,
};
use crate::{
    model::{
        exchange::{Messaging, MessagingStep, Outcome, Place},
        net::Role,
        trace_context::TraceParent,
    },
    protocols::{
        Anomalies, Output,
        lanes::{Broker, Lanes},
        sized::Frame,
        told::{Began, Ended, Told},
    },
};

/// `messaging.system`.
const SYSTEM: &str = "rabbitmq";
/// Bytes kept of a frame.
const KEEP: usize = 8 << 10;
/// Channels that are followed.
const CHANNELS_MAX: usize = 256;
/// Exchanges that may be open at a time.
const OPEN_MAX: usize = 2048;

/// One connection.
pub(super) struct Amqp {
    role: Role,
    lanes: Lanes,
    channels: BTreeMap<u16, Box<Channel>>,
    /// Exchanges that are open.
    open: usize,
    anomalies: Anomalies,
}

impl Amqp {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            lanes: Lanes::new(length, KEEP, recognise),
            channels: BTreeMap::new(),
            open: 0,
            anomalies: Anomalies::default(),
        }
    }

    /// Takes a frame; `None` if it is none.
    fn frame(&mut self, is_request: bool, frame: &Frame<'_>, out: &mut Output) -> Option<()> {
        let mut at = frame.reader();
        let Some(kind) = at.u8() else { return self.lose_frame(is_request, frame, out) };
        if kind == b'A' {
            return Some(());
        }
        let (Some(number), Some(size)) = (at.u16(), at.u32()) else { return self.lose_frame(is_request, frame, out) };
        let mut payload = at.part(size.into())?;
        if at.u8().is_some_and(|end| end != FRAME_END) {
            return None;
        }
        match kind {
            METHOD => {
                let Some(method) = method::read(payload) else { return self.lose_frame(is_request, frame, out) };
                // Both ends count the bytes of each direction alike.
                let place = if is_request { Place::Position(frame.position) } else { Place::Id(frame.position) };
                let began = Began { at_ns: frame.at_ns, thread: frame.thread, place };
                self.on_method(is_request, number, method, began, frame, out);
            }
            HEADER => {
                let Some(header) = content::read(payload) else { return self.lose_frame(is_request, frame, out) };
                self.on_header(is_request, number, &header, frame, out);
            }
            BODY => {
                payload.skip(size.into())?;
                self.on_body(is_request, number, size.into(), frame, out);
            }
            _ => {}
        }
        Some(())
    }

    /// What a frame says is not known.
    fn lose_frame(&mut self, is_request: bool, frame: &Frame<'_>, out: &mut Output) -> Option<()> {
        self.anomalies.resyncs += 1;
        self.lose(is_request, frame.end_ns, out);
        Some(())
    }

    fn channel(&mut self, number: u16) -> Option<&mut Channel> {
        if self.channels.len() >= CHANNELS_MAX && !self.channels.contains_key(&number) {
            self.anomalies.over_limit += 1;
            return None;
        }
        Some(&mut **self.channels.entry(number).or_default())
    }

    fn on_method(
        &mut self,
        is_request: bool,
        number: u16,
        method: Method,
        began: Began,
        frame: &Frame<'_>,
        out: &mut Output,
    ) {
        if let Method::ConnectionClose(code) = method {
            let numbers: Vec<u16> = self.channels.keys().copied().collect();
            numbers.into_iter().for_each(|number| self.close(number, is_request, code, frame, out));
            return;
        }
        if matches!(method, Method::ChannelClose(_) | Method::ChannelCloseOk) && !self.channels.contains_key(&number) {
            return;
        }
        let Some(channel) = self.channel(number) else { return };
        match (method, is_request) {
            (Method::ChannelOpen, true) => {
                let mut before = mem::replace(channel, Channel::from_its_beginning());
                for told in before.take_all() {
                    self.tell(told, Ended::unseen(frame.end_ns), out);
                }
            }
            (Method::ChannelClose(code), _) => self.close(number, is_request, code, frame, out),
            (Method::ConfirmSelect, true) => {
                channel.confirms = channel.is_known;
            }
            (Method::QueueDeclareOk(queue), false) => channel.queue = queue,
            (Method::Publish(route), true) => {
                channel.published += 1;
                self.begin_content(true, number, began, What::Published(route), frame, out);
            }
            (Method::Consume { queue, consumer, no_ack, no_wait }, true) => {
                let queue = channel.queue(queue);
                channel.consume(consumer, Consumer { queue, no_ack }, no_wait);
            }
            (Method::ConsumeOk(tag), false) => channel.on_consume_ok(tag),
            (Method::Deliver { consumer, tag, route }, false) => {
                let what = What::Delivered { tag, route, consumer: channel.consumer(&consumer) };
                self.begin_content(false, number, began, what, frame, out);
            }
            (Method::Return, false) => {
                self.begin_content(false, number, began, What::Returned, frame, out);
            }
            (Method::Get { queue, no_ack }, true) if channel.is_ordered && channel.gets.len() < WAITING_MAX => {
                let queue = channel.queue(queue);
                channel.gets.push_back(Get { queue, no_ack, began });
            }
            (Method::GetOk { tag, route }, false) => {
                let what = What::Fetched { tag, route, get: channel.gets.pop_front() };
                self.begin_content(false, number, began, what, frame, out);
            }
            (Method::GetEmpty, false) => drop(channel.gets.pop_front()),
            (Method::Ack { tag, multiple }, true) => self.settle(number, (tag, multiple), "ack", began, frame, out),
            (Method::Nack { tag, multiple }, true) => self.settle(number, (tag, multiple), "nack", began, frame, out),
            (Method::Reject(tag), true) => self.settle(number, (tag, false), "reject", began, frame, out),
            (Method::Ack { tag, multiple }, false) => self.confirm(number, (tag, multiple), None, frame, out),
            (Method::Nack { tag, multiple }, false) => self.confirm(number, (tag, multiple), Some("nack"), frame, out),
            _ => {}
        }
    }

    /// A consumer says that it has dealt with messages, or that it will not.
    fn settle(
        &mut self,
        number: u16,
        (tag, multiple): (u64, bool),
        word: &'static str,
        began: Began,
        frame: &Frame<'_>,
        out: &mut Output,
    ) {
        let Some(channel) = self.channel(number) else { return };
        let fetched = if multiple { None } else { channel.settle_fetched(tag) };
        for mut told in channel.settled(tag, multiple) {
            // Of what was refused it is not known why.
            told.messaging.error = (word != "ack").then(|| CompactString::const_new(word));
            let ended = Ended::answered(frame.at_ns, frame.end_ns);
            self.tell(told, ended, out);
        }
        if let Some(mut messaging) = fetched
            && let Some(()) = self.has_room()
        {
            messaging.operation = CompactString::const_new(word);
            let told = self.open_exchange(*messaging, began, None, out);
            self.tell(told, Ended::one_way(frame.end_ns), out);
        }
    }

    /// The broker says that it has messages, or that it has not.
    fn confirm(
        &mut self,
        number: u16,
        (tag, multiple): (u64, bool),
        error: Option<&'static str>,
        frame: &Frame<'_>,
        out: &mut Output,
    ) {
        let Some(channel) = self.channel(number) else { return };
        for mut told in channel.confirmed(tag, multiple) {
            told.messaging.error = error.map(CompactString::const_new);
            self.tell(told, Ended::answered(frame.at_ns, frame.end_ns), out);
        }
    }

    /// A channel is closed: by the broker with a code, which is an answer, or by the client.
    fn close(&mut self, number: u16, is_request: bool, code: u16, frame: &Frame<'_>, out: &mut Output) {
        let Some(mut channel) = self.channels.remove(&number) else { return };
        const NORMAL: u16 = 200;
        let error = (!is_request && code != NORMAL).then(|| compact_str::format_compact!("{code}"));
        if let (Some(error), Some(get)) = (&error, channel.gets.pop_front()) {
            let mut messaging = messaging("get", MessagingStep::Receive, &Route::default(), Some(&get.queue));
            messaging.error = Some(error.clone());
            if let Some(()) = self.has_room() {
                let told = self.open_exchange(messaging, get.began, None, out);
                self.tell(told, Ended::answered(frame.at_ns, frame.end_ns), out);
            }
        }
        for mut told in channel.take_all() {
            let is_answered = error.is_some() && told.messaging.step == MessagingStep::Send;
            if is_answered {
                told.messaging.error.clone_from(&error);
                self.tell(told, Ended::answered(frame.at_ns, frame.end_ns), out);
            } else {
                self.tell(told, Ended::without_answer(Outcome::NoResponse, frame.end_ns), out);
            }
        }
    }

    // ---- contents

    fn begin_content(
        &mut self,
        is_request: bool,
        number: u16,
        began: Began,
        what: What,
        frame: &Frame<'_>,
        out: &mut Output,
    ) {
        let Some(channel) = self.channel(number) else { return };
        let content = Content { began, what, left: None, told: None };
        let place = if is_request { &mut channel.sent } else { &mut channel.received };
        // One that is not whole does not go on.
        if let Some(told) = place.replace(content).and_then(|before| before.told) {
            self.tell(told, Ended::unseen(frame.end_ns), out);
        }
    }

    fn on_header(&mut self, is_request: bool, number: u16, header: &Header, frame: &Frame<'_>, out: &mut Output) {
        let Some(channel) = self.channel(number) else { return };
        let place = if is_request { &mut channel.sent } else { &mut channel.received };
        let Some(mut content) = place.take() else { return };
        // A second header: what was to come of the first did not, or was missed.
        if content.left.is_some() {
            if let Some(told) = content.told {
                self.tell(told, Ended::unseen(frame.end_ns), out);
            }
            return;
        }
        content.left = Some(header.body_bytes);
        if self.has_room().is_some() {
            content.told = self.begin(&content, header, out);
        } else if !matches!(content.what, What::Returned) {
            self.anomalies.over_limit += 1;
            self.anomalies.requests_lost += 1;
        }
        self.on_content(is_request, number, content, frame, out);
    }

    fn has_room(&self) -> Option<()> {
        (self.open < OPEN_MAX).then_some(())
    }

    fn begin(&mut self, content: &Content, header: &Header, out: &mut Output) -> Option<Told> {
        let mut parent = None;
        let (mut messaging, began) = match &content.what {
            What::Published(route) => {
                parent = header.context;
                (messaging("publish", MessagingStep::Send, route, None), content.began)
            }
            What::Delivered { tag, route, consumer } => {
                let queue = consumer.as_ref().map(|consumer| consumer.queue.as_str());
                let is_settled = consumer.as_ref().is_some_and(|consumer| !consumer.no_ack);
                let step = if is_settled { MessagingStep::Process } else { MessagingStep::Receive };
                let mut messaging = messaging("deliver", step, route, queue);
                messaging.delivery_tag = Some(*tag);
                (messaging, content.began)
            }
            What::Fetched { tag, route, get, .. } => {
                let queue = get.as_ref().map(|get| get.queue.as_str());
                let mut messaging = messaging("get", MessagingStep::Receive, route, queue);
                messaging.delivery_tag = Some(*tag);
                (messaging, get.as_ref().map_or(content.began, |get| get.began))
            }
            What::Returned => return None,
        };
        header.describe(&mut messaging);
        messaging.carries_context = header.context.is_some();
        if parent.is_none() {
            messaging.links = header.context.into_iter().collect();
        }
        Some(self.open_exchange(messaging, began, parent, out))
    }

    fn open_exchange(
        &mut self,
        messaging: Messaging,
        began: Began,
        parent: Option<TraceParent>,
        out: &mut Output,
    ) -> Told {
        self.open += 1;
        Told::open(self.role, messaging, began, parent, out)
    }

    fn on_body(&mut self, is_request: bool, number: u16, size: u64, frame: &Frame<'_>, out: &mut Output) {
        let Some(channel) = self.channel(number) else { return };
        let place = if is_request { &mut channel.sent } else { &mut channel.received };
        let Some(mut content) = place.take_if(|content| content.left.is_some()) else { return };
        match content.left.and_then(|left| left.checked_sub(size)) {
            Some(left) => {
                content.left = Some(left);
                self.on_content(is_request, number, content, frame, out);
            }
            // More than there was to be.
            None => {
                if let Some(told) = content.told {
                    self.tell(told, Ended::unseen(frame.end_ns), out);
                }
            }
        }
    }

    /// A content goes on, or is whole.
    fn on_content(&mut self, is_request: bool, number: u16, content: Content, frame: &Frame<'_>, out: &mut Output) {
        let Some(channel) = self.channel(number) else { return };
        if content.left != Some(0) {
            *(if is_request { &mut channel.sent } else { &mut channel.received }) = Some(content);
            return;
        }
        let Content { began, what, told, .. } = content;
        let Some(told) = told else { return };
        match what {
            What::Published(_) if channel.is_known && channel.confirms => {
                channel.unconfirmed.push_back((channel.published, told));
            }
            What::Published(_) => self.tell(told, Ended::one_way(frame.end_ns), out),
            What::Delivered { tag, .. } if told.messaging.step == MessagingStep::Process => {
                // A number is not used twice, unless something was missed.
                if let Some(before) = channel.unsettled.insert(tag, told) {
                    self.tell(before, Ended::unseen(frame.end_ns), out);
                }
            }
            What::Fetched { tag, get: Some(get), .. } => {
                if !get.no_ack {
                    channel.remember_fetched(tag, &told.messaging);
                }
                self.tell(told, Ended::answered(began.at_ns, frame.end_ns), out);
            }
            What::Delivered { .. } | What::Fetched { .. } | What::Returned => {
                self.tell(told, Ended::one_way(frame.end_ns), out)
            }
        }
    }

    // ---- ends

    fn tell(&mut self, told: Told, ended: Ended, out: &mut Output) {
        self.open -= 1;
        told.finish(self.role, NAME, ended, out);
    }
}

fn messaging(operation: &'static str, step: MessagingStep, route: &Route, queue: Option<&str>) -> Messaging {
    Messaging {
        system: SYSTEM,
        operation: CompactString::const_new(operation),
        step,
        destination: Some(destination(route, queue)),
        routing_key: (!route.key.is_empty()).then(|| route.key.clone()),
        is_temporary: is_made_up(&route.key) || queue.is_some_and(is_made_up),
        ..Messaging::default()
    }
}

impl Broker for Amqp {
    const READS_PAST_LOST: bool = true;

    fn role(&self) -> Role {
        self.role
    }

    fn lanes(&self) -> &Lanes {
        &self.lanes
    }

    fn lanes_mut(&mut self) -> &mut Lanes {
        &mut self.lanes
    }

    fn on_frame(&mut self, is_client: bool, frame: &Frame<'_>, out: &mut Output) -> Option<()> {
        self.frame(is_client, frame, out)
    }

    fn lose(&mut self, is_client: bool, at_ns: u64, out: &mut Output) {
        let mut channels = mem::take(&mut self.channels);
        for channel in channels.values_mut() {
            for told in channel.lose(is_client) {
                self.tell(told, Ended::unseen(at_ns), out);
            }
        }
        self.channels = channels;
    }

    fn end_all(&mut self, outcome: Outcome, at_ns: u64, out: &mut Output) {
        let mut channels = mem::take(&mut self.channels);
        for told in channels.values_mut().flat_map(|channel| channel.take_all()) {
            self.tell(told, Ended::without_answer(outcome, at_ns), out);
        }
    }

    fn open(&self) -> usize {
        self.open
    }

    fn held(&self) -> usize {
        let channels: usize = self.channels.values().map(|channel| channel.memory()).sum();
        channels + self.channels.len() * 32
    }

    fn anomalies(&mut self) -> &mut Anomalies {
        &mut self.anomalies
    }
}
