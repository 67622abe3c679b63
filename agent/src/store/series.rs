//! Rate, errors and durations over time: what the metrics of requests count, each ten seconds, for hours. Every request is in them,
//! whatever becomes of its span. A slot in which nothing happened takes no room.

use std::{collections::VecDeque, time::Duration};

use compact_str::{CompactString, format_compact};
use hashbrown::HashMap;

use super::{
    block::{Reader, put, text_of},
    takes::Takes,
};
use crate::model::{
    metric::{Metric, Points},
    span::{Attribute, Value},
};

/// Length of a slot in seconds.
pub(crate) const STEP_S: u64 = 10;
/// Slots that are written together, and forgotten together: ten minutes.
const CHUNK_SLOTS: u64 = 60;
/// Slots beyond which the earliest go whatever they take: a day.
const SLOTS_MAX: u64 = 24 * 3600 / STEP_S;
/// Most slots of a series that wait to be told: a minute and more.
const UNTOLD_MAX: usize = 16;
/// Most runs of earlier agents that are known.
const EARLIER_MAX: usize = 1000;
/// Most series; what is beyond is not kept.
const SERIES_MAX: usize = 4000;
/// Buckets of durations: four to an octave, so that what is read of them is at most a tenth off. Bucket `i` ends at
/// `2^((i - ZERO + 1) / 4)` s.
const BUCKETS: usize = 200;
/// The bucket that begins at a second.
const ZERO: i32 = 120;
const PER_OCTAVE: i32 = 4;

/// Which end of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    /// It answers them.
    Server,
    /// It makes them.
    Client,
}

/// What is counted apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// `service.name`.
    pub(crate) service: CompactString,
    /// `service.namespace`; empty where there is none.
    pub(crate) namespace: CompactString,
    /// Which end.
    pub(crate) side: Side,
    /// Method and route, or what else calls are named by.
    pub(crate) name: CompactString,
    /// Of a client: who is asked, as `address:port`.
    pub(crate) target: CompactString,
    /// `http`, `rpc`, `db`, `messaging`.
    pub(crate) group: &'static str,
}

/// Requests of a time.
#[derive(Clone, PartialEq)]
pub(crate) struct Red {
    /// All.
    pub(crate) count: u64,
    /// Those that failed.
    pub(crate) errors: u64,
    /// Their durations together.
    pub(crate) sum_s: f64,
    buckets: Box<[u32; BUCKETS]>,
}

impl Default for Red {
    fn default() -> Self {
        Self { count: 0, errors: 0, sum_s: 0.0, buckets: Box::new([0; BUCKETS]) }
    }
}

impl std::fmt::Debug for Red {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} requests, {} errors, {} s", self.count, self.errors, self.sum_s)
    }
}

impl Red {
    /// Adds another's.
    pub(crate) fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.errors += other.errors;
        self.sum_s += other.sum_s;
        self.buckets.iter_mut().zip(other.buckets.iter()).for_each(|(own, more)| *own += more);
    }

    /// What is counted here and not there, where this is the same at a later time.
    pub(crate) fn without(&self, before: &Self) -> Self {
        let mut rest = self.clone();
        rest.count = rest.count.saturating_sub(before.count);
        rest.errors = rest.errors.saturating_sub(before.errors);
        rest.sum_s = (rest.sum_s - before.sum_s).max(0.0);
        rest.buckets.iter_mut().zip(before.buckets.iter()).for_each(|(own, less)| *own = own.saturating_sub(*less));
        rest
    }

    /// Its durations: bucket `i` ends at `2^((i - 119) / 4)` s, and begins where the one before ends.
    pub(crate) fn buckets(&self) -> Vec<(u8, u32)> {
        let all = self.buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        all.filter_map(|(index, count)| Some((u8::try_from(index).ok()?, *count))).collect()
    }

    /// Of counts that were given.
    pub(crate) fn of_counts(count: u64, errors: u64, sum_s: f64, buckets: &[(u8, u32)]) -> Self {
        let mut red = Self { count, errors, sum_s, ..Self::default() };
        for &(index, count) in buckets {
            if let Some(bucket) = red.buckets.get_mut(usize::from(index)) {
                *bucket = bucket.saturating_add(count);
            }
        }
        red
    }

    /// A duration that this share of the requests did not take longer than, in s; `None`: there were none.
    pub(crate) fn quantile(&self, share: f64) -> Option<f64> {
        let all: u64 = self.buckets.iter().map(|count| u64::from(*count)).sum();
        if all == 0 {
            return None;
        }
        let wanted = share * all as f64;
        let mut below = 0.0;
        for (index, &count) in self.buckets.iter().enumerate() {
            below += f64::from(count);
            if count > 0 && below >= wanted {
                // The middle of its bucket: nothing in it is further off than a tenth.
                let exponent = f64::from(index as i32 - ZERO) + 0.5;
                return Some((exponent / f64::from(PER_OCTAVE)).exp2());
            }
        }
        None
    }

    pub(super) fn write(&self, slot_in_chunk: u64, out: &mut Vec<u8>) {
        put(out, slot_in_chunk);
        put(out, self.count);
        put(out, self.errors);
        out.extend_from_slice(&(self.sum_s as f32).to_le_bytes());
        put(out, self.buckets.iter().filter(|count| **count > 0).count() as u64);
        for (index, count) in self.buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
            out.push(index as u8);
            put(out, u64::from(*count));
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<(u64, Self)> {
        let slot = reader.number()?;
        let mut red = Self { count: reader.number()?, errors: reader.number()?, ..Self::default() };
        red.sum_s = f64::from(f32::from_le_bytes(reader.array()?));
        for _ in 0..reader.number()? {
            let index = usize::from(reader.byte()?);
            let count = u32::try_from(reader.number()?).unwrap_or(u32::MAX);
            if let Some(bucket) = red.buckets.get_mut(index) {
                *bucket = count;
            }
        }
        Some((slot, red))
    }
}

/// Slots from the first to before the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Window {
    /// Number of the first slot: its start in Unix time is `STEP_S` times that.
    pub(crate) from: u64,
    /// Number of the first slot behind it.
    pub(crate) until: u64,
    /// Seconds of it that there are metrics of.
    pub(crate) covered_s: f64,
}

impl Window {
    /// As much of it as was over by this time.
    #[must_use]
    pub(crate) fn before(self, unix_s: u64) -> Self {
        Self { until: self.until.min((unix_s / STEP_S).saturating_add(1)), ..self }
    }

    /// So many in a second.
    pub(crate) fn per_second(&self, count: u64) -> f64 {
        if self.covered_s > 0.0 { count as f64 / self.covered_s } else { 0.0 }
    }
}

/// What came of series since the last time that it was asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct More {
    /// When this agent has begun to count, and until when it has.
    pub(crate) started_unix_ns: u64,
    pub(crate) until_unix_ns: u64,
    /// Series, slot, and what came in it.
    pub(crate) rows: Vec<(Key, u64, Red)>,
}

#[derive(Default)]
struct One {
    chunks: VecDeque<(u64, Vec<u8>)>,
    /// The slot that is not over.
    open: Option<(u64, Red)>,
    /// What of that was told as more already.
    told: Option<Red>,
    /// What of slots that are over was not.
    untold: Vec<(u64, Red)>,
}

impl One {
    fn at(&mut self, slot: u64, bytes: &mut usize, is_told: bool) -> &mut Red {
        if let Some((open, red)) = self.open.take() {
            if open < slot {
                self.close(open, &red, bytes);
                let told = self.told.take();
                if is_told && self.untold.len() < UNTOLD_MAX {
                    self.untold.push((open, told.map_or_else(|| red.clone(), |told| red.without(&told))));
                }
            } else {
                self.open = Some((open, red));
            }
        }
        &mut self.open.get_or_insert_with(|| (slot, Red::default())).1
    }

    /// What was not told yet.
    fn more(&mut self) -> Vec<(u64, Red)> {
        let mut more = std::mem::take(&mut self.untold);
        if let Some((slot, red)) = &self.open {
            let told = self.told.replace(red.clone());
            more.push((*slot, told.map_or_else(|| red.clone(), |told| red.without(&told))));
        }
        more.retain(|(_, red)| red.count > 0);
        more
    }

    fn close(&mut self, slot: u64, red: &Red, bytes: &mut usize) {
        let chunk = slot / CHUNK_SLOTS;
        if self.chunks.back().is_none_or(|(its, _)| *its != chunk) {
            if let Some((_, full)) = self.chunks.back_mut() {
                *bytes -= full.capacity();
                full.shrink_to_fit();
                *bytes += full.capacity();
            }
            self.chunks.push_back((chunk, Vec::new()));
            *bytes += size_of::<(u64, Vec<u8>)>();
        }
        if let Some((_, text)) = self.chunks.back_mut() {
            let before = text.capacity();
            red.write(slot % CHUNK_SLOTS, text);
            *bytes += text.capacity() - before;
        }
    }

    fn each(&self, window: Window, mut take: impl FnMut(u64, Red)) {
        let chunks = window.from / CHUNK_SLOTS..=window.until / CHUNK_SLOTS;
        for (chunk, text) in self.chunks.iter().filter(|(chunk, _)| chunks.contains(chunk)) {
            let mut reader = Reader { bytes: text };
            while let Some((slot, red)) = Red::read(&mut reader) {
                let slot = chunk * CHUNK_SLOTS + slot;
                if (window.from..window.until).contains(&slot) {
                    take(slot, red);
                }
            }
        }
        if let Some((slot, red)) = &self.open
            && (window.from..window.until).contains(slot)
        {
            take(*slot, red.clone());
        }
    }
}

/// What a point of a metric said last.
struct Before {
    count: u64,
    sum: f64,
    start_unix_ns: u64,
    buckets: Box<[u32; BUCKETS]>,
    seen: u64,
}

/// See the module.
pub(super) struct Series {
    limit: usize,
    all: HashMap<Key, One, foldhash::fast::RandomState>,
    before: HashMap<u64, Before, foldhash::fast::RandomState>,
    /// Bytes of all chunks.
    bytes: usize,
    started_unix_ns: u64,
    taken_unix_ns: u64,
    takes: Takes,
    /// How often was taken.
    round: u64,
    /// Somebody asks for more now and then.
    is_told: bool,
    /// When earlier agents counted: from when until when.
    earlier: Vec<(u64, u64)>,
}

impl Series {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            all: HashMap::default(),
            before: HashMap::default(),
            bytes: 0,
            started_unix_ns: 0,
            taken_unix_ns: 0,
            takes: Takes::default(),
            round: 0,
            is_told: false,
            earlier: Vec::new(),
        }
    }

    /// From now on somebody asks for more.
    pub(super) fn tell_more(&mut self) {
        self.is_told = true;
    }

    /// What came since this was asked for last.
    pub(super) fn more(&mut self) -> More {
        let of = |(key, one): (&Key, &mut One)| {
            one.more().into_iter().map(|(slot, red)| (key.clone(), slot, red)).collect::<Vec<_>>()
        };
        let rows = self.all.iter_mut().flat_map(of).collect();
        More { started_unix_ns: self.started_unix_ns, until_unix_ns: self.taken_unix_ns, rows }
    }

    /// Takes more back, which nobody has taken: it is told with the next.
    pub(super) fn take_back(&mut self, more: More) {
        for (key, slot, red) in more.rows {
            if let Some(one) = self.all.get_mut(&key).filter(|one| one.untold.len() < UNTOLD_MAX) {
                one.untold.push((slot, red));
            }
        }
    }

    /// Takes what earlier agents have told, in its order.
    pub(super) fn restore(&mut self, earlier: Vec<More>, now_unix_ns: u64) {
        let slot = now_unix_ns / 1_000_000_000 / STEP_S;
        let oldest = slot.saturating_sub(SLOTS_MAX);
        let mut restored: HashMap<Key, One, foldhash::fast::RandomState> = HashMap::default();
        for More { started_unix_ns, until_unix_ns, rows } in earlier {
            match self.earlier.last_mut() {
                Some((started, until)) if *started == started_unix_ns => *until = until_unix_ns.max(*until),
                _ => self.earlier.push((started_unix_ns, until_unix_ns)),
            }
            // A clock that was put back has counted in slots that are still to come.
            for (key, its, red) in rows.into_iter().filter(|(_, its, _)| (oldest..=slot).contains(its)) {
                if restored.len() < SERIES_MAX || restored.contains_key(&key) {
                    restored.entry(key).or_default().at(its, &mut self.bytes, false).add(&red);
                }
            }
        }
        let excess = self.earlier.len().saturating_sub(EARLIER_MAX);
        self.earlier.drain(..excess);
        for (key, mut one) in restored {
            if let Some((open, red)) = one.open.take() {
                one.close(open, &red, &mut self.bytes);
            }
            if self.all.len() >= SERIES_MAX && !self.all.contains_key(&key) {
                self.bytes -=
                    one.chunks.iter().map(|(_, text)| text.capacity() + size_of::<(u64, Vec<u8>)>()).sum::<usize>();
                continue;
            }
            let own = self.all.entry(key).or_default();
            one.chunks.append(&mut own.chunks);
            own.chunks = one.chunks;
        }
        self.make_room(slot);
    }

    pub(super) fn bytes(&self) -> usize {
        let per_one =
            size_of::<Key>() + size_of::<One>() + size_of::<Red>() + BUCKETS * 4 * (1 + usize::from(self.is_told));
        let per_before = size_of::<Before>() + BUCKETS * 4;
        self.bytes + self.all.len() * per_one + self.before.len() * per_before
    }

    pub(super) fn last(&self, length: Duration) -> Window {
        let slot = self.taken_unix_ns / 1_000_000_000 / STEP_S;
        let slots = length.as_secs().div_ceil(STEP_S).max(1);
        self.window((slot + 1).saturating_sub(slots), slot)
    }

    pub(super) fn since(&self, unix_s: u64) -> Window {
        let slot = self.taken_unix_ns / 1_000_000_000 / STEP_S;
        self.window((unix_s / STEP_S).clamp(slot.saturating_sub(SLOTS_MAX), slot), slot)
    }

    fn window(&self, from: u64, slot: u64) -> Window {
        let begins_ns = from * STEP_S * 1_000_000_000;
        let since =
            |begins_ns: u64, (started, until): (u64, u64)| until.saturating_sub(begins_ns.max(started)) as f64 / 1e9;
        let own_begins_ns = self.takes.begin(from).unwrap_or(begins_ns);
        let own = since(own_begins_ns, (self.started_unix_ns, self.taken_unix_ns));
        let earlier: f64 = self.earlier.iter().map(|&one| since(begins_ns, one)).sum();
        Window { from, until: slot + 1, covered_s: own + earlier }
    }

    pub(super) fn take(&mut self, metrics: &[Metric], now_unix_ns: u64) {
        if self.started_unix_ns == 0 {
            // Requests that were before are of the time since then.
            self.started_unix_ns = now_unix_ns;
        }
        let before_unix_ns = self.taken_unix_ns.max(self.started_unix_ns);
        self.taken_unix_ns = now_unix_ns.max(self.taken_unix_ns);
        self.round += 1;
        let slot = now_unix_ns / 1_000_000_000 / STEP_S;
        self.takes.add(slot, before_unix_ns, now_unix_ns);
        for metric in metrics {
            self.take_one(metric, slot);
        }
        let round = self.round;
        // What a metric says of ended processes is said for minutes yet; a pause of the same point is none.
        self.before.retain(|_, before| round - before.seen < 1000);
        self.make_room(slot);
    }

    /// Since when there are metrics.
    pub(super) fn start_at(&mut self, unix_ns: u64) {
        self.started_unix_ns = unix_ns;
    }

    fn take_one(&mut self, metric: &Metric, slot: u64) {
        let Some((group, side)) = family(metric.name) else { return };
        let whose = foldhash_of(&(std::sync::Arc::as_ptr(&metric.resource).addr(), metric.name));
        let mut each =
            |attributes: &[Attribute], start_unix_ns, count, sum: f64, [before_them, buckets]: [Counts; 2]| {
                let point = point_hash(whose, attributes);
                let round = self.round;
                let before = self.before.get(&point).filter(|before| before.start_unix_ns == start_unix_ns);
                let begins_anew = before.is_none_or(|before| before.count > count);
                let more = if begins_anew { count } else { count - before.map_or(0, |before| before.count) };
                if more > 0 {
                    let (old_sum, old) = match before.filter(|_| !begins_anew) {
                        Some(before) => (before.sum, Some(&before.buckets)),
                        None => (0.0, None),
                    };
                    let is_error = attributes.iter().any(|attribute| attribute.key == "error.type");
                    // Native histograms begin anew now and then.
                    let is_less = old.is_some_and(|old| buckets.iter().zip(old.iter()).any(|(new, old)| new < old));
                    let old = if is_less { Some(&before_them) } else { old };
                    let key = key_of(metric, group, side, attributes);
                    if self.all.len() < SERIES_MAX || self.all.contains_key(&key) {
                        let red = self.all.entry(key).or_default().at(slot, &mut self.bytes, self.is_told);
                        red.count += more;
                        red.errors += if is_error { more } else { 0 };
                        red.sum_s += (sum - old_sum).max(0.0);
                        for (index, (own, new)) in red.buckets.iter_mut().zip(buckets.iter()).enumerate() {
                            *own += new - old.and_then(|old| old.get(index)).copied().unwrap_or(0).min(*new);
                        }
                    }
                }
                self.before.insert(point, Before { count, sum, start_unix_ns, buckets, seen: round });
            };
        match &metric.points {
            Points::Histogram(points) => {
                for point in points {
                    let buckets = match &point.native {
                        Some(native) => {
                            let mut all = exponential(native.schema, native.zero_count, native.offset, &native.buckets);
                            // They are kept from when somebody has asked for them: what was before is known less exactly.
                            let before = explicit(&point.bounds, &native.before);
                            all.iter_mut().zip(before.iter()).for_each(|(own, more)| *own += more);
                            [before, all]
                        }
                        None => [none(), explicit(&point.bounds, &point.buckets)],
                    };
                    each(&point.attributes, point.start_unix_ns, point.count, point.sum, buckets);
                }
            }
            Points::ExponentialHistogram(points) => {
                for point in points {
                    let buckets = exponential(point.scale, point.zero_count, point.offset, &point.buckets);
                    each(&point.attributes, point.start_unix_ns, point.count, point.sum, [none(), buckets]);
                }
            }
            Points::Counter(_) | Points::UpDownCounter(_) | Points::Gauge(_) => {}
        }
    }

    /// Forgets the earliest chunks of all series until the rest fits.
    fn make_room(&mut self, slot: u64) {
        let mut earliest = (slot.saturating_sub(SLOTS_MAX)) / CHUNK_SLOTS;
        loop {
            let bytes = &mut self.bytes;
            self.all.retain(|_, one| {
                while let Some((chunk, text)) = one.chunks.front()
                    && *chunk < earliest
                {
                    *bytes -= text.capacity() + size_of::<(u64, Vec<u8>)>();
                    one.chunks.pop_front();
                }
                !one.chunks.is_empty() || one.open.as_ref().is_some_and(|(open, _)| open / CHUNK_SLOTS >= earliest)
            });
            if self.bytes() <= self.limit {
                return;
            }
            let first = self.all.values().filter_map(|one| one.chunks.front()).map(|(chunk, _)| *chunk).min();
            match first {
                Some(first) if first < slot / CHUNK_SLOTS => earliest = first + 1,
                // Of the last minutes all is kept; series are bounded in number.
                _ => return,
            }
        }
    }

    pub(super) fn sums(&self, window: Window, is_wanted: impl Fn(&Key) -> bool) -> Vec<(Key, Red)> {
        let mut sums = Vec::new();
        for (key, one) in self.all.iter().filter(|(key, _)| is_wanted(key)) {
            let mut sum = Red::default();
            one.each(window, |_, red| sum.add(&red));
            if sum.count > 0 {
                sums.push((key.clone(), sum));
            }
        }
        sums.sort_by(|(a, _), (b, _)| (&a.service, &a.name, &a.target).cmp(&(&b.service, &b.name, &b.target)));
        sums
    }

    /// Seconds of which the counts of each slot are.
    pub(super) fn seconds(&self, window: Window) -> Vec<f64> {
        let earlier = self.earlier.last().copied().unwrap_or_default();
        let slots = (window.from..window.until).take(SLOTS_MAX as usize);
        slots
            .map(|slot| {
                let (from, until) = (slot * STEP_S * 1_000_000_000, (slot + 1) * STEP_S * 1_000_000_000);
                // In the first slot of a run there may be the end of the one before.
                let of_earlier = earlier.1.min(until).saturating_sub(earlier.0.max(from)) as f64 / 1e9;
                self.takes.seconds(slot).map_or(STEP_S as f64, |own| own + of_earlier)
            })
            .collect()
    }

    pub(super) fn over_time(&self, window: Window, is_wanted: impl Fn(&Key) -> bool) -> Vec<Red> {
        let slots = usize::try_from(window.until.saturating_sub(window.from)).unwrap_or(0).min(SLOTS_MAX as usize);
        let mut steps = vec![Red::default(); slots];
        for (_, one) in self.all.iter().filter(|(key, _)| is_wanted(key)) {
            one.each(window, |slot, red| {
                if let Some(step) = steps.get_mut((slot - window.from) as usize) {
                    step.add(&red);
                }
            });
        }
        steps
    }
}

/// Which metrics of requests are taken.
fn family(name: &str) -> Option<(&'static str, Side)> {
    Some(match name {
        "http.server.request.duration" => ("http", Side::Server),
        "http.client.request.duration" => ("http", Side::Client),
        "rpc.server.call.duration" => ("rpc", Side::Server),
        "rpc.client.call.duration" => ("rpc", Side::Client),
        "db.client.operation.duration" => ("db", Side::Client),
        "db.server.operation.duration" => ("db", Side::Server),
        "messaging.client.operation.duration" => ("messaging", Side::Client),
        _ => return None,
    })
}

fn key_of(metric: &Metric, group: &'static str, side: Side, attributes: &[Attribute]) -> Key {
    let get = |key: &str| attributes.iter().find(|attribute| attribute.key == key).map(|it| text_of(&it.value));
    let first = |keys: &[&str]| keys.iter().find_map(|key| get(key));
    let joined = |first: Option<CompactString>, second: Option<CompactString>| match (first, second) {
        (Some(first), Some(second)) => format_compact!("{first} {second}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => CompactString::const_new("-"),
    };
    let name = if get("otel.metric.overflow").is_some() {
        CompactString::const_new("(others)")
    } else {
        match group {
            "http" => joined(get("http.request.method"), first(&["http.route", "url.template"])),
            "rpc" => joined(get("rpc.method"), None),
            "db" => first(&["db.query.summary"])
                .unwrap_or_else(|| joined(get("db.operation.name"), get("db.collection.name"))),
            _ => joined(get("messaging.operation.name"), get("messaging.destination.name")),
        }
    };
    let target = match (side, get("server.address"), get("server.port")) {
        (Side::Client, Some(address), Some(port)) if address.contains(':') => format_compact!("[{address}]:{port}"),
        (Side::Client, Some(address), Some(port)) => format_compact!("{address}:{port}"),
        (Side::Client, Some(address), None) => address,
        _ => CompactString::default(),
    };
    let namespace = metric.resource.attributes.iter().find(|(key, _)| key == "service.namespace");
    let group = match (group, get("db.system.name").is_some()) {
        (_, true) => "db",
        (group, false) => group,
    };
    Key {
        service: metric.resource.service_name.clone(),
        namespace: namespace.map(|(_, value)| text_of(value)).unwrap_or_default(),
        side,
        name,
        target,
        group,
    }
}

fn foldhash_of(value: &impl std::hash::Hash) -> u64 {
    use std::hash::BuildHasher as _;
    // The same for the same, within a run; who could make two collide would only spoil a count.
    foldhash::fast::FixedState::default().hash_one(value)
}

fn point_hash(whose: u64, attributes: &[Attribute]) -> u64 {
    attributes.iter().fold(whose, |hash, attribute| {
        let value = match &attribute.value {
            Value::Str(text) => foldhash_of(&text.as_str()),
            Value::Shared(text) => foldhash_of(&&**text),
            Value::Static(text) => foldhash_of(text),
            Value::Int(value) => foldhash_of(value),
            Value::Double(value) => foldhash_of(&value.to_bits()),
            Value::Bool(value) => foldhash_of(value),
            Value::List(texts) => foldhash_of(&&**texts),
        };
        foldhash_of(&(hash, attribute.key, value))
    })
}

fn add_to(buckets: &mut [u32; BUCKETS], index: i32, count: u64) {
    let index = usize::try_from(index.clamp(0, BUCKETS as i32 - 1)).unwrap_or(0);
    if let Some(bucket) = buckets.get_mut(index) {
        *bucket = bucket.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

/// Base-2 exponential buckets as ours.
fn exponential(scale: i32, zero: u64, offset: i32, counts: &[u64]) -> Box<[u32; BUCKETS]> {
    let mut buckets = Box::new([0; BUCKETS]);
    if zero > 0 {
        add_to(&mut buckets, 0, zero);
    }
    for (at, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let index = offset.saturating_add(at as i32);
        // Coarser ones are taken to be in the middle.
        let ours = if scale >= 2 {
            index >> (scale - 2).min(31)
        } else {
            let width = 1_i32 << (2 - scale).min(20);
            index.saturating_mul(width).saturating_add(width / 2)
        };
        add_to(&mut buckets, ours.saturating_add(ZERO), count);
    }
    buckets
}

/// Buckets with given bounds as ours: what is in one is spread evenly over those of ours that it covers.
/// Durations by bucket.
type Counts = Box<[u32; BUCKETS]>;

fn none() -> Counts {
    Box::new([0; BUCKETS])
}

fn explicit(bounds: &[f64], counts: &[u64]) -> Box<[u32; BUCKETS]> {
    let mut buckets = Box::new([0; BUCKETS]);
    let index = |bound: f64| (bound.log2() * f64::from(PER_OCTAVE)).ceil() as i32 + ZERO - 1;
    for (at, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let upper = bounds.get(at).copied();
        let lower = at.checked_sub(1).and_then(|at| bounds.get(at)).copied();
        let last = upper.or(lower).filter(|bound| *bound > 0.0).map_or(0, index);
        let first = match (lower, upper) {
            (Some(lower), Some(_)) if lower > 0.0 => index(lower) + 1,
            (Some(_), None) => last,
            _ => last - 2 * PER_OCTAVE,
        };
        let first = first.min(last);
        let width = (last - first + 1) as u64;
        for step in 0..width {
            add_to(&mut buckets, first + step as i32, count / width + u64::from(step < count % width));
        }
    }
    buckets
}
