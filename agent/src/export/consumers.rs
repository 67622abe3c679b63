//! Which consumers of spans there are. Receivers may change while the agent runs: who is none any more is given nothing new, and
//! hands on what waits.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::runtime::Handle;

use super::{
    TransportError, config::ExportConfig, console::Console, consumer::SpanConsumer, kept::Keeper, ledger::Ledger, otlp,
};
use crate::store::Store;

/// Those that are given spans.
type All = Arc<[Arc<dyn SpanConsumer>]>;

/// See the module. Cheap to clone; all have the same.
#[derive(Clone)]
pub(super) struct Consumers(Arc<RwLock<Lists>>);

#[derive(Default)]
struct Lists {
    active: All,
    /// They hand on what waits.
    leaving: Vec<Arc<dyn SpanConsumer>>,
    /// What became of what receivers were given that are none any more, by their URL.
    past: Vec<(Arc<str>, Ledger)>,
    /// Part of their room that they have, if not all.
    room: Option<f64>,
}

impl Consumers {
    pub(super) fn new(active: Vec<Arc<dyn SpanConsumer>>) -> Self {
        Self(Arc::new(RwLock::new(Lists { active: active.into(), ..Lists::default() })))
    }

    /// Those that are given spans.
    pub(super) fn active(&self) -> All {
        Arc::clone(&self.read().active)
    }

    /// The same, and those that hand on what waits.
    pub(super) fn all(&self) -> Vec<Arc<dyn SpanConsumer>> {
        let lists = self.read();
        lists.active.iter().chain(&lists.leaving).cloned().collect()
    }

    /// Ledgers of receivers that are none any more.
    pub(super) fn past(&self) -> Vec<(Arc<str>, Ledger)> {
        self.read().past.clone()
    }

    /// Gives spans to others from now on: `leaving` get none any more, `new` do.
    pub(super) fn exchange(&self, leaving: &[Arc<dyn SpanConsumer>], new: Vec<Arc<dyn SpanConsumer>>) {
        let mut lists = self.write();
        let goes = |it: &Arc<dyn SpanConsumer>| leaving.iter().any(|other| Arc::ptr_eq(it, other));
        // Receivers come before the others.
        let stay = lists.active.iter().filter(|it| !goes(it)).cloned();
        let active: Vec<_> = new.iter().cloned().chain(stay).collect();
        if let Some(share) = lists.room {
            new.iter().for_each(|it| it.set_room(share));
        }
        lists.active = active.into();
        lists.leaving.extend(leaving.iter().cloned());
    }

    /// They have this part of their room from now on. May take a moment.
    pub(super) fn set_room(&self, share: f64) {
        self.write().room = Some(share).filter(|share| *share < 1.0);
        self.all().iter().for_each(|it| it.set_room(share));
    }

    /// One has handed on what it could: what became of it is kept.
    pub(super) fn has_left(&self, consumer: &Arc<dyn SpanConsumer>) {
        let mut lists = self.write();
        lists.leaving.retain(|it| !Arc::ptr_eq(it, consumer));
        let Some(endpoint) = consumer.endpoint() else { return };
        let ledger = consumer.ledger();
        match lists.past.iter_mut().find(|(its, _)| its == endpoint) {
            Some((_, past)) => *past = past.and(&ledger),
            None => lists.past.push((Arc::clone(endpoint), ledger)),
        }
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Lists> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Lists> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that `config` asks for, running: receivers, and the others.
///
/// # Errors
/// Certificate files that cannot be used.
pub(super) fn start_all(
    config: &ExportConfig,
    runtime: &Handle,
    store: Option<Arc<Store>>,
) -> Result<(Vec<Arc<otlp::Spans>>, Consumers), TransportError> {
    let start = |to| otlp::Spans::start(to, config, runtime).map(Arc::new);
    let receivers: Vec<_> = config.traces.iter().map(start).collect::<Result<_, _>>()?;
    let mut consumers: Vec<_> = receivers.iter().map(|it| Arc::clone(it) as Arc<dyn SpanConsumer>).collect();
    consumers.extend(Console::start(config.print).map(|it| Arc::new(it) as Arc<dyn SpanConsumer>));
    consumers.extend(store.map(|store| Arc::new(Keeper::new(store)) as Arc<dyn SpanConsumer>));
    Ok((receivers, Consumers::new(consumers)))
}
