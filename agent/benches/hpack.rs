//! Header blocks per second, and whole gRPC calls per second through a session. The bar for the decoder alone: at least
//! a million blocks per second and core on a typical gRPC request.
#![expect(clippy::unwrap_used, reason = "a benchmark whose input cannot be made has nothing to measure")]

use std::{hint::black_box, time::Duration};

use beyla_rs::internals::{
    Blocks, Chunk, Output, http2,
    model::{Direction, Role, Thread},
};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use httlib_hpack::Encoder;

const INDEXED: u8 = Encoder::BEST_FORMAT | Encoder::WITH_INDEXING | Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE;
const LITERAL: u8 = Encoder::BEST_FORMAT | Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE;

/// What grpc-go sends: everything in the table but the deadline and the trace context, which change.
fn request(encoder: &mut Encoder<'_>, has_context: bool) -> Vec<u8> {
    let mut block = Vec::new();
    let mut fields = vec![
        (":method", "POST", INDEXED),
        (":scheme", "http", INDEXED),
        (":path", "/hipstershop.ProductCatalogService/GetProduct", INDEXED),
        (":authority", "productcatalogservice:3550", INDEXED),
        ("content-type", "application/grpc", INDEXED),
        ("user-agent", "grpc-go/1.70.0", INDEXED),
        ("te", "trailers", INDEXED),
        ("grpc-timeout", "4999876u", LITERAL),
    ];
    if has_context {
        fields.push(("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", LITERAL));
    }
    for (name, value, flags) in fields {
        encoder.encode((name.as_bytes().to_vec(), value.as_bytes().to_vec(), flags), &mut block).unwrap();
    }
    block
}

fn blocks(c: &mut Criterion) {
    let mut group = c.benchmark_group("hpack");
    group.throughput(Throughput::Elements(1));
    for (name, has_context) in [("grpc_request", false), ("grpc_request_with_traceparent", true)] {
        let mut encoder = Encoder::default();
        let first = request(&mut encoder, has_context);
        let steady = request(&mut encoder, has_context);
        let mut decoder = Blocks::from_beginning();
        assert_eq!(decoder.path_len(&first), Some(45));
        assert_eq!(decoder.path_len(&steady), Some(45));
        group.bench_function(name, |b| b.iter(|| decoder.path_len(black_box(&steady))));
        let mut decoder = Blocks::in_mid_life();
        assert_eq!(decoder.path_len(&steady), Some(0));
        group.bench_function(format!("{name}_in_mid_life"), |b| b.iter(|| decoder.path_len(black_box(&steady))));
        let mut encoder = Encoder::with_dynamic_size(0);
        let mut literals = Vec::new();
        encoder.update_max_dynamic_size(0, &mut literals).unwrap();
        literals.extend(request(&mut encoder, has_context));
        let mut decoder = Blocks::from_beginning();
        group.bench_function(format!("{name}_without_table"), |b| b.iter(|| decoder.path_len(black_box(&literals))));
    }
    group.finish();
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn session(c: &mut Criterion) {
    let mut group = c.benchmark_group("http2");
    group.throughput(Throughput::Elements(1));
    let (mut client, mut server) = (Encoder::default(), Encoder::default());
    let mut session = http2::open(Role::Server);
    let mut out = Output::default();
    let mut stream = 1_u32;
    let mut call = |client: &mut Encoder<'_>, server: &mut Encoder<'_>| {
        let mut request = frame(1, 4, stream, &request(client, false));
        request.extend(frame(0, 1, stream, &[0; 30]));
        let mut encode = |fields: &[(&str, &str)]| {
            let mut block = Vec::new();
            for (name, value) in fields {
                server.encode((name.as_bytes().to_vec(), value.as_bytes().to_vec(), INDEXED), &mut block).unwrap();
            }
            block
        };
        let mut response = frame(1, 4, stream, &encode(&[(":status", "200"), ("content-type", "application/grpc")]));
        response.extend(frame(0, 0, stream, &[0; 200]));
        response.extend(frame(1, 5, stream, &encode(&[("grpc-status", "0"), ("grpc-message", "")])));
        stream += 2;
        (request, response)
    };
    let mut chunk = |direction, data: &[u8]| {
        let chunk = Chunk {
            at_ns: 1,
            thread: Thread::default(),
            data,
            skipped: 0,
            tail: &[],
            frames: None,
            lost: false,
            quiet_ns: 0,
            position: 0,
            other_position: 0,
        };
        session.on_data(direction, &chunk, &mut out);
        let told = out.finished();
        out.drain().for_each(drop);
        told
    };
    let mut preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    preface.extend(frame(4, 0, 0, &[]));
    chunk(Direction::Received, &preface);
    chunk(Direction::Sent, &frame(4, 0, 0, &[]));
    for _ in 0..2 {
        let (request, response) = call(&mut client, &mut server);
        chunk(Direction::Received, &request);
        assert_eq!(chunk(Direction::Sent, &response), 1);
    }
    let (request, response) = call(&mut client, &mut server);
    group.bench_function("grpc_unary_call", |b| {
        b.iter(|| chunk(Direction::Received, black_box(&request)) + chunk(Direction::Sent, black_box(&response)));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = blocks, session
}
criterion_main!(benches);
