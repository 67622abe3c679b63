//! What many ask at about the same time is worked out once: pages that are open show much the same.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::body::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::answers::{LiveSpans, SpanSummary};
use crate::store::{Filter, Store};

/// Most answers that are kept.
const ANSWERS_MAX: usize = 16;
/// Longest answer that is kept.
const ANSWER_MAX_BYTES: usize = 512 << 10;
/// How often it is looked for spans.
const LOOK: Duration = Duration::from_millis(300);
/// Most spans of an event. What is beyond is left out, and counted: nobody reads it.
const SPANS_MAX: usize = 200;
/// What a span takes in an event, about.
const SPAN_BYTES: usize = 360;
/// Most events of a look that are kept: streams that ask for different spans, or have come at different moments.
const EVENTS_MAX: usize = 64;

/// Answers by what was asked, the one that was asked last at the end.
#[derive(Default)]
pub(super) struct Answers(Mutex<Vec<(String, Answer)>>);

/// Until when it is good, and it. Who makes it holds the lock.
type Answer = Arc<Mutex<Option<(Instant, Bytes)>>>;

fn is_good(answer: &(Instant, Bytes)) -> bool {
    Instant::now() < answer.0
}

impl Answers {
    /// The answer, if there is one that is good. Never waits.
    pub(super) fn ready(&self, asked: &str) -> Option<Bytes> {
        let answers = self.0.try_lock()?;
        let (_, answer) = answers.iter().find(|(its, _)| its == asked)?;
        let answer = answer.try_lock()?;
        answer.as_ref().filter(|answer| is_good(answer)).map(|(_, answer)| answer.clone())
    }

    /// The answer, if there is one that is good, or one that is made now, and until when it is. Who asks the same meanwhile waits for it.
    pub(super) fn get<E>(&self, asked: &str, make: impl FnOnce() -> Result<(Instant, Bytes), E>) -> Result<Bytes, E> {
        let own = self.own(asked);
        let mut own = own.lock();
        if let Some((_, answer)) = own.as_ref().filter(|answer| is_good(answer)) {
            return Ok(answer.clone());
        }
        let (until, answer) = make()?;
        *own = (answer.len() <= ANSWER_MAX_BYTES).then(|| (until, answer.clone()));
        Ok(answer)
    }

    fn own(&self, asked: &str) -> Answer {
        let mut answers = self.0.lock();
        // One that is being made is wanted.
        answers.retain(|(_, answer)| answer.try_lock().is_none_or(|answer| answer.as_ref().is_none_or(is_good)));
        let own = match answers.iter().position(|(its, _)| its == asked) {
            Some(at) => answers.remove(at).1,
            None => Answer::default(),
        };
        if answers.len() >= ANSWERS_MAX {
            answers.remove(0);
        }
        answers.push((asked.to_owned(), Arc::clone(&own)));
        own
    }
}

/// Events of the live stream. All streams look at the same moments, so that those that ask for the same go on with the same, and one
/// waking serves them all.
pub(super) struct Looks {
    began: Instant,
    look: Mutex<Look>,
}

#[derive(Default)]
struct Look {
    /// Which one it is.
    round: u64,
    /// The number of the first span behind it.
    until: u64,
    /// By what is asked for, and from which number on.
    events: HashMap<(String, u64), Option<Bytes>>,
}

impl Default for Looks {
    fn default() -> Self {
        Self { began: Instant::now(), look: Mutex::default() }
    }
}

impl Looks {
    /// Which look it is now; the first one is 1.
    pub(super) fn round(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos() / LOOK.as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// When the one behind this round begins.
    pub(super) fn end_of(&self, round: u64) -> Instant {
        let length = LOOK.saturating_mul(u32::try_from(round).unwrap_or(u32::MAX));
        self.began.checked_add(length).unwrap_or_else(|| Instant::now() + LOOK)
    }

    /// What there is from `next` on for who asks for these spans (`asked` says which), and the number to go on with.
    pub(super) fn event(
        &self,
        store: &Store,
        round: u64,
        asked: &str,
        filter: &Filter,
        next: u64,
    ) -> (u64, Option<Bytes>) {
        let mut look = self.look.lock();
        if round > look.round {
            *look = Look { round, until: store.next(), events: HashMap::new() };
        }
        let until = look.until;
        // Who has just come is beyond the last look.
        if next >= until {
            return (next, None);
        }
        let key = (asked.to_owned(), next);
        if let Some(event) = look.events.get(&key) {
            return (until, event.clone());
        }
        let event = written(store, filter, next, until);
        if look.events.len() < EVENTS_MAX {
            look.events.insert(key, event.clone());
        }
        (until, event)
    }
}

fn written(store: &Store, filter: &Filter, next: u64, until: u64) -> Option<Bytes> {
    let found = store.between(next, until, filter, SPANS_MAX);
    let spans: Vec<SpanSummary> = found.spans.iter().map(SpanSummary::of).collect();
    (!spans.is_empty()).then(|| text_of(store, spans, found.left_out, found.next.max(until)))
}

/// An event as it is sent.
pub(super) fn text_of(store: &Store, spans: Vec<SpanSummary>, left_out: u64, next: u64) -> Bytes {
    let data = LiveSpans { spans, left_out, thinned: store.stats().thinned, next };
    let mut text = format!("retry: 300\nid: {next}\ndata: ").into_bytes();
    text.reserve(64 + SPAN_BYTES * data.spans.len());
    // Nothing in it fails to be written.
    let _is_written = serde_json::to_writer(&mut text, &data).is_ok();
    text.extend_from_slice(b"\n\n");
    text.into()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::export::testing;

    fn long() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    #[test]
    fn an_answer_is_made_once_while_it_is_good() {
        let (answers, made) = (Answers::default(), Cell::new(0_u8));
        let ask = |asked: &str, until: Instant| {
            let make = || {
                made.set(made.get() + 1);
                Ok::<_, ()>((until, Bytes::from(vec![made.get()])))
            };
            answers.get(asked, make).unwrap()[0]
        };
        let over = Instant::now();
        assert_eq!(
            [ask("60", long()), ask("60", over), ask("900", over), ask("900", over), ask("60", over)],
            [1, 1, 2, 3, 1]
        );
        assert_eq!((answers.ready("60"), answers.ready("900")), (Some(Bytes::from(vec![1])), None));
        for number in 0..40 {
            ask(&number.to_string(), long());
        }
        assert_eq!(answers.0.lock().len(), ANSWERS_MAX);
        assert_eq!((answers.ready("60"), answers.ready("39").is_some()), (None, true), "that of what was asked last");
        answers.0.lock().iter().for_each(|(_, answer)| *answer.lock() = Some((over, Bytes::new())));
        ask("one", long());
        assert_eq!(answers.0.lock().len(), 1, "what is good no more is not kept");
    }

    #[test]
    fn what_is_refused_or_long_is_made_each_time() {
        let answers = Answers::default();
        assert_eq!(answers.get("a", || Err("no")), Err("no"));
        let make = |text: &Bytes| Ok::<_, ()>((long(), text.clone()));
        let yes = Bytes::from_static(b"yes");
        assert_eq!((answers.get("a", || make(&yes)), answers.ready("a")), (Ok(yes.clone()), Some(yes)));
        let much = Bytes::from(vec![b'a'; ANSWER_MAX_BYTES + 1]);
        assert_eq!((answers.get("b", || make(&much)), answers.ready("b")), (Ok(much), None));
    }

    #[test]
    fn who_asks_for_something_else_does_not_wait_for_an_answer_that_is_being_made() {
        let (answers, quick) = (Answers::default(), Bytes::from_static(b"quick"));
        let answer = answers.get("slow", || {
            assert_eq!(answers.ready("slow"), None, "it is not there yet");
            answers.get("quick", || Ok::<_, ()>((long(), quick.clone()))).map(|answer| (long(), answer))
        });
        assert_eq!((answer, answers.ready("slow")), (Ok(quick.clone()), Some(quick)));
    }

    #[test]
    fn streams_that_ask_for_the_same_get_the_same_event_and_each_span_once() {
        let (store, looks) = (Store::new(8 << 20, None), Looks::default());
        let push = |number| store.push(&Arc::new(vec![testing::span(number)]));
        let filter = Filter::default();
        let ask = |round, next| looks.event(&store, round, "all", &filter, next);
        let start = store.next();
        push(1);
        push(2);
        let (one, first) = ask(1, start);
        push(3);
        // The look is over with what there was at its beginning.
        assert_eq!(ask(1, start), (one, first.clone()));
        assert_eq!((ask(1, one), one), ((one, None), start + 2));
        let text = String::from_utf8(first.unwrap().to_vec()).unwrap();
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let data: LiveSpans = serde_json::from_str(data).unwrap();
        assert_eq!((data.spans.len(), data.left_out, data.next), (2, 0, one));
        assert!(text.contains(&format!("id: {one}\n")) && text.ends_with("\n\n"), "{text}");
        let (two, second) = ask(2, one);
        assert!(two == start + 3 && second.is_some());
        assert_eq!(ask(1, one), (two, second), "who is late for a look has the next one's");
        // Who asks for others gets its own.
        let none = Filter { service: Some("no such".into()), ..Filter::default() };
        assert_eq!(looks.event(&store, 2, "none", &none, one), (two, None));
        assert_eq!(ask(2, two + 5), (two + 5, None));
    }

    #[test]
    fn all_look_at_the_same_moments() {
        let looks = Looks::default();
        let (round, end) = (looks.round(), looks.end_of(looks.round()));
        assert_eq!(looks.end_of(round + 1), end + LOOK);
        assert!(end <= looks.began + LOOK * u32::try_from(round).unwrap() && looks.end_of(u64::MAX) > Instant::now());
    }
}
