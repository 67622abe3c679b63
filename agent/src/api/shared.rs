//! What many ask at about the same time is worked out once: pages that are open show much the same.

use std::time::{Duration, Instant};

use axum::body::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::answers::{LiveSpans, SpanSummary};
use crate::store::{Filter, Store};

/// Most answers that are kept: windows of time that are looked at.
const ANSWERS_MAX: usize = 8;
/// How often it is looked for spans.
pub(super) const LOOK: Duration = Duration::from_millis(300);
/// Most spans of an event. What is beyond is left out, and counted: nobody reads it.
const SPANS_MAX: usize = 200;
/// Most events of a look that are kept: streams that ask for different spans, or have come at different moments.
const EVENTS_MAX: usize = 64;

/// Answers by the window of time that they are of.
#[derive(Default)]
pub(super) struct Answers(Mutex<Vec<(Duration, Instant, Bytes)>>);

impl Answers {
    /// The answer, if there is one that is as fresh, or one that is made now. Who asks meanwhile waits for it.
    pub(super) fn get(&self, window: Duration, fresh: Duration, make: impl FnOnce() -> Bytes) -> Bytes {
        let mut answers = self.0.lock();
        answers.retain(|(_, at, _)| at.elapsed() < fresh);
        if let Some((.., answer)) = answers.iter().find(|(its, ..)| *its == window) {
            return answer.clone();
        }
        let answer = make();
        if answers.len() >= ANSWERS_MAX {
            answers.remove(0);
        }
        answers.push((window, Instant::now(), answer.clone()));
        answer
    }
}

/// Events of the live stream. All streams end a look at the same span, so that those that ask for the same go on with the same.
#[derive(Default)]
pub(super) struct Looks(Mutex<Look>);

#[derive(Default)]
struct Look {
    at: Option<Instant>,
    /// The number of the first span behind it.
    until: u64,
    /// By what is asked for, and from which number on.
    events: HashMap<(String, u64), Option<Bytes>>,
}

impl Looks {
    /// What there is from `next` on for who asks for these spans (`asked` says which), and the number to go on with.
    pub(super) fn event(&self, store: &Store, asked: &str, filter: &Filter, next: u64) -> (u64, Option<Bytes>) {
        let mut look = self.0.lock();
        if look.at.is_none_or(|at| at.elapsed() >= LOOK) {
            *look = Look { at: Some(Instant::now()), until: store.next(), events: HashMap::new() };
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
    let data = serde_json::to_string(&data).unwrap_or_default();
    Bytes::from(format!("retry: 300\nid: {next}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, sync::Arc};

    use super::*;
    use crate::export::testing;

    #[test]
    fn an_answer_is_made_once_while_it_is_fresh() {
        let (answers, made) = (Answers::default(), Cell::new(0_u8));
        let ask = |seconds, fresh| {
            let make = || {
                made.set(made.get() + 1);
                Bytes::from(vec![made.get()])
            };
            answers.get(Duration::from_secs(seconds), fresh, make)[0]
        };
        const LONG: Duration = Duration::from_secs(3600);
        assert_eq!([ask(60, LONG), ask(60, LONG), ask(900, LONG), ask(60, LONG)], [1, 1, 2, 1]);
        for seconds in 0..20 {
            ask(seconds, LONG);
        }
        assert_eq!(answers.0.lock().len(), ANSWERS_MAX);
        let before = made.get();
        assert_eq!((ask(19, LONG), ask(19, Duration::ZERO)), (before, before + 1));
    }

    #[test]
    fn streams_that_ask_for_the_same_get_the_same_event_and_each_span_once() {
        let (store, looks) = (Store::new(8 << 20, None), Looks::default());
        let push = |number| store.push(&Arc::new(vec![testing::span(number)]));
        let filter = Filter::default();
        let ask = |next| looks.event(&store, "all", &filter, next);
        let start = store.next();
        push(1);
        push(2);
        let (one, first) = ask(start);
        // It lasts until it is said to be over.
        looks.0.lock().at = Instant::now().checked_add(Duration::from_secs(3600));
        push(3);
        // The look is over with what there was at its beginning.
        assert_eq!(ask(start), (one, first.clone()));
        assert_eq!((ask(one), one), ((one, None), start + 2));
        let text = String::from_utf8(first.unwrap().to_vec()).unwrap();
        let data = text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
        let data: LiveSpans = serde_json::from_str(data).unwrap();
        assert_eq!((data.spans.len(), data.left_out, data.next), (2, 0, one));
        assert!(text.contains(&format!("id: {one}\n")), "{text}");
        looks.0.lock().at = None;
        let (two, second) = ask(one);
        assert!(two == start + 3 && second.is_some());
        // Who asks for others gets its own.
        let none = Filter { service: Some("no such".into()), ..Filter::default() };
        assert_eq!(looks.event(&store, "none", &none, one), (two, None));
        assert_eq!(ask(two + 5), (two + 5, None));
    }
}
