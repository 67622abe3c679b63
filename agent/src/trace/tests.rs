use super::*;
use crate::{
    model::exchange::Keys,
    model::{
        exchange::{Operation, Outcome, Pattern},
        net::{Role, Thread},
        trace_context::TraceParent,
    },
};

fn tracer() -> Tracer {
    Tracer::new(Ids::from_seed([1; 32]), Sampler::default())
}

fn parent() -> Option<TraceParent> {
    TraceParent::parse(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
}

fn opened(key: Key, parent: Option<TraceParent>) -> Opened {
    Opened { key, role: Role::Server, thread: Thread::default(), start_ns: 1, parent }
}

fn exchange(parent: Option<TraceParent>) -> Exchange {
    Exchange {
        role: Role::Server,
        thread: Thread::default(),

        start_ns: 1,
        first_byte_ns: None,
        end_ns: 2,
        outcome: Outcome::Complete,
        parent,
        protocol: "http1",
        pattern: Pattern::RequestResponse,
        operation: Operation::Http(Box::default()),
    }
}

#[test]
fn a_request_has_the_ids_that_it_was_given_when_it_began() {
    let (mut tracer, mut keys) = (tracer(), Keys::default());
    let [first, second] = [keys.take(), keys.take()];
    tracer.on_opened(&opened(first, None));
    tracer.on_opened(&opened(second, parent()));
    let given: Vec<Open> = tracer.open.iter().flatten().copied().collect();
    assert_eq!(tracer.open(), 2);
    let context = tracer.on_finished(second, &exchange(parent()));
    assert_eq!((context.trace_id, context.span_id), (parent().unwrap().trace_id, given[1].span_id));
    assert_eq!(context.parent, Some((parent().unwrap().span_id, Evidence::Header)));
    let context = tracer.on_finished(first, &exchange(None));
    assert_eq!((context.trace_id, context.span_id, context.parent), (given[0].trace_id, given[0].span_id, None));
    assert_eq!(tracer.open(), 0);
}

#[test]
fn an_older_key_of_the_same_slot_does_not_get_the_ids_of_the_younger() {
    let (mut tracer, mut keys) = (tracer(), Keys::default());
    let older = keys.take();
    keys.give_back(older);
    let younger = keys.take();
    assert_eq!(older.slot(), younger.slot());
    tracer.on_opened(&opened(younger, None));
    let _context = tracer.on_finished(older, &exchange(None));
    assert_eq!(tracer.open(), 1);
}

#[test]
fn a_context_that_is_found_late_counts() {
    let (mut tracer, mut keys) = (tracer(), Keys::default());
    let key = keys.take();
    tracer.on_opened(&opened(key, None));
    assert_eq!(tracer.on_finished(key, &exchange(parent())).trace_id, parent().unwrap().trace_id);
}

#[test]
fn the_caller_decides_unless_the_service_has_a_sampler_of_its_own() {
    let (mut tracer, mut keys) = (tracer(), Keys::default());
    let unsampled = TraceParent { flags: 2, ..parent().unwrap() };
    let exchange = exchange(Some(unsampled));
    let mut context = tracer.on_finished(keys.take(), &exchange);
    tracer.sample(&mut context, &exchange, None);
    assert!(!context.is_sampled());
    tracer.sample(&mut context, &exchange, Some(&Sampler::AlwaysOn));
    assert_eq!(context.flags, 3);
}
