//! What a request's header fields carry of its caller: trace context in several formats, and baggage. Fields are taken as
//! they come, and which of them count is settled at the end of the head.

use super::Field;
use crate::model::{
    b3,
    baggage::MAX_BYTES,
    exchange::{Baggage, Http},
    jaeger,
    probability::Sampled,
    propagation::{Format, Propagation},
    trace_context::{SpanId, TraceId, TraceParent},
};

/// A field of which there may be one: several, or one that is malformed, say nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Single<T> {
    #[default]
    Absent,
    Valid(T),
    Malformed,
}

impl<T: Copy> Single<T> {
    fn take(&mut self, value: Option<T>) {
        *self = match (&self, value) {
            (Self::Absent, Some(value)) => Self::Valid(value),
            _ => Self::Malformed,
        };
    }

    const fn valid(self) -> Option<T> {
        match self {
            Self::Valid(value) => Some(value),
            Self::Absent | Self::Malformed => None,
        }
    }

    const fn is_malformed(self) -> bool {
        matches!(self, Self::Malformed)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Carried {
    trace_context: Single<TraceParent>,
    /// That of most requests carry nothing else.
    rare: Option<Box<Rare>>,
}

#[derive(Debug, Default)]
struct Rare {
    b3: Single<TraceParent>,
    trace_id: Single<TraceId>,
    span_id: Single<SpanId>,
    parent_span_id: Single<SpanId>,
    sampled: Single<b3::State>,
    is_debug: bool,
    jaeger: Single<TraceParent>,
    baggage: String,
}

impl Carried {
    /// Takes a field. `cut`: only its beginning is there, which says nothing.
    #[inline]
    pub(super) fn take(&mut self, field: Field, value: &[u8], cut: bool) {
        if field == Field::TraceParent {
            return self.trace_context.take(TraceParent::parse(value).filter(|_| !cut));
        }
        self.rare.get_or_insert_default().take(field, if cut { b"" } else { value });
    }

    /// Takes a line that continues a field (obs-fold). A `traceparent` is valid if all of it stands in this line: an empty one was
    /// malformed before. Of others that would be too rare.
    pub(super) fn on_continued(&mut self, field: Field, more: &[u8]) {
        match field {
            Field::TraceParent => {
                let value = TraceParent::parse(more).filter(|_| self.trace_context.is_malformed());
                self.trace_context = value.map_or(Single::Malformed, Single::Valid);
            }
            Field::Baggage => self.take(field, b"=", false),
            _ => self.take(field, b"", false),
        }
    }

    /// The context that counts, and with it the list of states in `http`; the baggage that is wanted goes there.
    pub(super) fn settle(self, http: &mut Http, propagation: &Propagation) -> Option<TraceParent> {
        let Self { trace_context, rare } = self;
        let valid = |format| match (format, &rare) {
            (Format::TraceContext, _) => trace_context.valid(),
            (_, None) => None,
            (Format::B3, Some(rare)) => rare.b3.valid(),
            (Format::B3Multi, Some(rare)) => rare.b3_multi(),
            (Format::Jaeger, Some(rare)) => rare.jaeger.valid(),
        };
        let found = propagation.formats.iter().rev().find_map(|&format| Some((format, valid(format)?)));
        if !matches!(found, Some((Format::TraceContext, _))) {
            http.trace_state = None;
        }
        if let Some(rare) = rare.filter(|rare| !rare.baggage.is_empty() && !propagation.baggage.is_empty()) {
            http.baggage = Baggage::of(&rare.baggage, &propagation.baggage);
        }
        let sampled = http.trace_state.as_deref().map(Sampled::of).unwrap_or_default();
        found.map(|(_, parent)| TraceParent { sampled, ..parent })
    }

    /// Heap bytes held.
    pub(super) fn heap(&self) -> usize {
        self.rare.as_ref().map_or(0, |rare| size_of::<Rare>() + rare.baggage.capacity())
    }
}

impl Rare {
    fn take(&mut self, field: Field, value: &[u8]) {
        match field {
            Field::B3 => self.b3.take(b3::parse(value)),
            Field::B3TraceId => self.trace_id.take(b3::trace_id(value)),
            Field::B3SpanId => self.span_id.take(b3::span_id(value)),
            Field::B3ParentSpanId => self.parent_span_id.take(b3::span_id(value)),
            Field::B3Sampled => self.sampled.take(b3::State::parse(value)),
            // Anything else is to be ignored.
            Field::B3Flags => self.is_debug |= value == b"1",
            Field::UberTraceId => self.jaeger.take(jaeger::parse(value)),
            Field::Baggage => self.add_baggage(value),
            _ => {}
        }
    }

    /// Several fields are one list. One that no longer fits is left out, and so is one whose end is missing.
    fn add_baggage(&mut self, value: &[u8]) {
        let Ok(value) = str::from_utf8(value) else { return };
        if value.is_empty() || self.baggage.len() + value.len() >= MAX_BYTES {
            return;
        }
        if !self.baggage.is_empty() {
            self.baggage.push(',');
        }
        self.baggage.push_str(value);
    }

    fn b3_multi(&self) -> Option<TraceParent> {
        if self.parent_span_id.is_malformed() || self.sampled.is_malformed() {
            return None;
        }
        let state = if self.is_debug { Some(b3::State::Debug) } else { self.sampled.valid() };
        Some(b3::parent(self.trace_id.valid()?, self.span_id.valid()?, state))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const W3C: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const B3: &[u8] = b"80f198ee56343ba864fe8b2a57d3eff7-e457b5a2e4d86bd1-0";
    const JAEGER: &[u8] = b"a1:b2:0:1";
    const ALL: [Format; 4] = [Format::TraceContext, Format::B3, Format::B3Multi, Format::Jaeger];

    fn settled(fields: &[(Field, &[u8])], formats: &[Format]) -> (Option<TraceParent>, Http) {
        let mut carried = Carried::default();
        fields.iter().for_each(|(field, value)| carried.take(*field, value, false));
        let mut http = Http { trace_state: Some("a=1".into()), ..Http::default() };
        let propagation = Propagation { formats: formats.to_vec(), baggage: vec!["tenant"], ..Propagation::default() };
        (carried.settle(&mut http, &propagation), http)
    }

    fn parent(fields: &[(Field, &[u8])], formats: &[Format]) -> Option<String> {
        settled(fields, formats).0.map(|parent| parent.span_id.to_string())
    }

    #[test]
    fn of_several_contexts_the_last_named_counts_that_is_valid() {
        let fields = [(Field::TraceParent, W3C), (Field::B3, B3), (Field::UberTraceId, JAEGER)];
        let (w3c, b3, jaeger) = (Some("00f067aa0ba902b7"), Some("e457b5a2e4d86bd1"), Some("00000000000000b2"));
        for (formats, expected) in [
            (&[][..], None),
            (&[Format::TraceContext], w3c),
            (&[Format::TraceContext, Format::B3], b3),
            (&[Format::B3, Format::TraceContext], w3c),
            (&[Format::B3Multi, Format::TraceContext], w3c),
            (&[Format::TraceContext, Format::B3Multi], w3c),
            (&ALL, jaeger),
        ] {
            assert_eq!(parent(&fields, formats).as_deref(), expected, "{formats:?}");
        }
        let malformed = [(Field::TraceParent, W3C), (Field::B3, &b"0"[..])];
        assert_eq!(parent(&malformed, &ALL).as_deref(), w3c);
    }

    #[test]
    fn a_field_that_comes_twice_says_nothing() {
        for (field, value) in [(Field::TraceParent, W3C), (Field::B3, B3), (Field::UberTraceId, JAEGER)] {
            assert!(parent(&[(field, value)], &ALL).is_some(), "{field:?}");
            assert!(parent(&[(field, value), (field, value)], &ALL).is_none(), "{field:?}");
        }
    }

    #[test]
    fn the_list_of_states_belongs_to_its_own_format() {
        assert!(settled(&[(Field::TraceParent, W3C)], &ALL).1.trace_state.is_some());
        assert!(settled(&[(Field::TraceParent, W3C), (Field::B3, B3)], &ALL).1.trace_state.is_none());
        assert!(settled(&[], &ALL).1.trace_state.is_none());
    }

    #[test]
    fn b3_in_several_fields_needs_both_ids_and_nothing_malformed() {
        let ids: [(Field, &[u8]); 2] =
            [(Field::B3TraceId, b"a3ce929d0e0e4736"), (Field::B3SpanId, b"e457b5a2e4d86bd1")];
        let with = |more: &[(Field, &[u8])]| {
            let fields = [&ids[..], more].concat();
            settled(&fields, &ALL).0.map(|parent| (parent.is_sampled(), parent.is_deferred))
        };
        assert_eq!(with(&[]), Some((false, true)));
        assert_eq!(with(&[(Field::B3Sampled, b"1")]), Some((true, false)));
        assert_eq!(with(&[(Field::B3Sampled, b"0")]), Some((false, false)));
        assert_eq!(with(&[(Field::B3Sampled, b"0"), (Field::B3Flags, b"1")]), Some((true, false)));
        assert_eq!(with(&[(Field::B3Flags, b"7"), (Field::B3ParentSpanId, b"05e3ac9a4f6e3b90")]), Some((false, true)));
        assert_eq!(with(&[(Field::B3Sampled, b"2")]), None);
        assert_eq!(with(&[(Field::B3ParentSpanId, b"x")]), None);
        assert_eq!(with(&[(Field::B3SpanId, b"e457b5a2e4d86bd1")]), None);
        assert_eq!(settled(&ids[..1], &ALL).0, None);
    }

    #[test]
    fn several_fields_are_one_baggage_of_which_what_is_wanted_is_kept() {
        let long = [&b"x="[..], &[b'y'; MAX_BYTES]].concat();
        let fields: [(Field, &[u8]); 4] = [
            (Field::Baggage, b"a=1"),
            (Field::Baggage, &long),
            (Field::Baggage, b"tenant=blue"),
            (Field::Baggage, b"\xff"),
        ];
        let (_, http) = settled(&fields, &[]);
        assert_eq!(
            http.baggage.entries().map(|(key, value)| (key, value.as_str())).collect::<Vec<_>>(),
            [("tenant", "blue")]
        );
        assert_eq!(settled(&[(Field::Baggage, b"a=1")], &[]).1.baggage, Baggage::default());
    }

    #[test]
    fn a_value_that_is_cut_or_goes_on_in_the_next_line_says_nothing() {
        let mut carried = Carried::default();
        carried.take(Field::TraceParent, W3C, true);
        carried.take(Field::B3, B3, true);
        carried.take(Field::UberTraceId, JAEGER, false);
        carried.on_continued(Field::UberTraceId, b"");
        let propagation = Propagation { formats: ALL.to_vec(), ..Propagation::default() };
        assert_eq!(carried.settle(&mut Http::default(), &propagation), None);
    }
}
