//! What the first bytes of a piece say.

use proptest::prelude::*;

use super::{super::*, wire::*};

fn request_block(wire: &mut Wire) -> Vec<u8> {
    encode(&mut wire.client, &call("/pkg.Svc/Do"))
}

#[test]
fn a_preface_is_a_request_and_its_beginnings_could_become_one() {
    assert_eq!(recognise(&[PREFACE, &settings()].concat()), Recognition::Request);
    assert_eq!(recognise(PREFACE), Recognition::Request);
    for len in 0..PREFACE.len() {
        assert_eq!(recognise(&PREFACE[..len]), Recognition::Maybe, "{len}");
    }
    assert_eq!(recognise(b"PRI * HTTP/1.1\r\n"), Recognition::No);
}

#[test]
fn a_header_block_in_mid_life_tells_which_side_sends_it() {
    let mut wire = Wire::new();
    for _ in 0..3 {
        let request = frame(1, END_HEADERS, 101, &request_block(&mut wire));
        let response = frame(1, END_HEADERS, 101, &encode(&mut wire.server, &[(":status", "200"), ("x", "y")]));
        let update = frame(8, 0, 0, &[0, 0, 1, 0]);
        // Other frames before it tell nothing.
        for before in [vec![], update.clone(), [data(0, 7, &[0; 30]), update].concat()] {
            for after in [vec![], data(END_STREAM, 101, &[0; 10]), data(END_STREAM, 101, &[0; 500])[..20].to_vec()] {
                // The path and other fields are in the table from the second time on; method and scheme are static.
                let request = [&before[..], &request, &after].concat();
                assert_eq!(recognise(&request), Recognition::Request);
                let response = [&before[..], &response, &after].concat();
                assert_eq!(recognise(&response), Recognition::Response);
                // Every beginning could become one, or is one already.
                for len in 0..request.len() {
                    let recognised = recognise(&request[..len]);
                    assert!(!matches!(recognised, Recognition::No | Recognition::Response), "{len}");
                }
                for len in 0..response.len() {
                    let recognised = recognise(&response[..len]);
                    assert!(!matches!(recognised, Recognition::No | Recognition::Request), "{len}");
                }
            }
        }
    }
}

#[test]
fn trailers_of_a_call_are_a_response() {
    let trailers = frame(1, END_HEADERS | END_STREAM, 7, &encode(&mut Wire::new().server, &[("grpc-status", "0")]));
    assert_eq!(recognise(&trailers), Recognition::Response);
}

#[test]
fn frames_that_both_sides_send_tell_nothing() {
    for bytes in [settings(), frame(4, 1, 0, &[]), frame(6, 0, 0, &[1; 8]), frame(8, 0, 3, &[0, 0, 1, 0]), rst(3, 8)] {
        assert_eq!(recognise(&bytes), Recognition::Either);
        assert_eq!(recognise(&bytes[..bytes.len() - 1]), Recognition::Maybe);
    }
    assert_eq!(recognise(&data(END_STREAM, 3, b"hello")), Recognition::Either);
    // Nor does a block that consists of entries of the table.
    assert_eq!(recognise(&frame(1, END_HEADERS, 3, &[0xbe, 0xbf, 0xc0])), Recognition::Either);
}

#[test]
fn other_protocols_are_not_recognised() {
    let others: [&[u8]; 12] = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /x HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x17\x03\x03\x00\x20abcdefghijkl",
        b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
        b"+OK\r\n",
        // Kafka: ApiVersions, length 35.
        b"\x00\x00\x00\x23\x00\x12\x00\x03\x00\x00\x00\x01\x00\x07console\x00\x00\x00",
        // MySQL: greeting, query, OK.
        b"\x4a\x00\x00\x00\x0a8.0.32\x00\x08\x00\x00\x00",
        b"\x21\x00\x00\x00\x03select @@version_comment limit 1",
        b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00",
        // PostgreSQL: startup.
        b"\x00\x00\x00\x25\x00\x03\x00\x00user\x00postgres\x00database\x00x\x00\x00",
    ];
    for bytes in others {
        assert_eq!(recognise(bytes), Recognition::No, "{}", bytes.escape_ascii());
    }
    // MongoDB, DNS over TCP and zeroes may need more bytes, but are never taken for HTTP/2.
    for bytes in [
        &[0; 64][..],
        b"\x00\x1d\xab\xcd\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01",
    ] {
        assert!(matches!(recognise(bytes), Recognition::No | Recognition::Maybe));
    }
}

#[test]
fn random_bytes_are_hardly_ever_recognised() {
    let mut random = Random(0xdecade);
    let mut recognised = 0;
    for _ in 0..200_000 {
        let mut bytes = [0; 48];
        // Small numbers and zeroes abound in binary protocols.
        bytes.fill_with(|| if random.one_in(2) { random.below(8) as u8 } else { random.next() as u8 });
        recognised += u32::from(matches!(recognise(&bytes), Recognition::Request | Recognition::Response));
    }
    assert!(recognised <= 2, "{recognised}");
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(bytes: Vec<u8>, cut in 0_usize..60) {
        let _ = recognise(&bytes);
        let mut wire = Wire::new();
        let mut frames = frame(1, END_HEADERS, 3, &request_block(&mut wire));
        frames.truncate(cut);
        frames.extend(bytes);
        let _ = recognise(&frames);
    }
}
