//! Conversations that show what every protocol keeps.

use super::{super::Side, wire::*};
use crate::protocols::conformance::{Sample, Sender};

fn sample(name: &'static str, exchanges: usize, wire: Wire) -> Sample {
    let sender = |side| if side == Side::Requests { Sender::Client } else { Sender::Server };
    let pieces = wire.pieces.into_iter().map(|moved| (sender(moved.side), moved.bytes)).collect();
    Sample { name, pieces, exchanges }
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    vec![one_after_the_other(), at_a_time(), calls()]
}

fn one_after_the_other() -> Sample {
    let mut wire = Wire::new();
    wire.get(1, "/first");
    wire.answer(1, END_STREAM, &[(":status", "204")]);
    wire.ask(3, 0, &[(":method", "POST"), (":scheme", "http"), (":path", "/second"), (":authority", "shop")]);
    wire.request([data(0, 3, &[1; 700]), data(END_STREAM, 3, &[2; 30])].concat());
    wire.answer(3, 0, &[(":status", "201"), ("content-type", "text/plain")]);
    wire.response(data(END_STREAM, 3, &[7; 900]));
    wire.get(5, "/third");
    wire.answer(5, 0, &[(":status", "404")]);
    wire.response(data(END_STREAM, 5, b"no"));
    sample("one after the other", 3, wire)
}

fn at_a_time() -> Sample {
    let mut wire = Wire::new();
    wire.get(1, "/a");
    let block = encode(&mut wire.client, &get("/b"));
    wire.request([frame(1, END_STREAM, 3, &block[..3]), frame(9, END_HEADERS, 3, &block[3..])].concat());
    wire.get(5, "/c");
    wire.answer(5, 0, &[(":status", "500")]);
    wire.answer(1, 0, &[(":status", "200")]);
    wire.response([data(0, 5, &[5; 40]), frame(8, 0, 0, &[0, 0, 16, 0]), data(END_STREAM, 1, &[1; 400])].concat());
    wire.answer(3, END_STREAM, &[(":status", "302"), ("x-other", "value")]);
    wire.response(data(END_STREAM, 5, &[5; 1]));
    sample("several at a time", 3, wire)
}

fn calls() -> Sample {
    let mut wire = Wire::new();
    for (stream, path, status) in [(1, "/p.S/Do", "0"), (3, "/p.S/Fail", "5"), (5, "/q.T/Else", "13")] {
        wire.call(stream, path);
        wire.request(data(END_STREAM, stream, &[0, 0, 0, 0, 1, 7]));
        wire.answer(stream, 0, &[(":status", "200"), ("content-type", "application/grpc")]);
        wire.response(data(0, stream, &[0, 0, 0, 0, 1, 9]));
        wire.answer(stream, END_STREAM, &[("grpc-status", status), ("grpc-message", "x")]);
    }
    sample("calls of gRPC", 3, wire)
}
