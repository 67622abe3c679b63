//! Properties of any conversation.

use proptest::prelude::*;

use super::*;

/// A message's body, and how it is framed.
#[derive(Clone, Debug)]
enum Body {
    None,
    Counted(Vec<u8>),
    Chunked(Vec<Vec<u8>>, bool, bool),
}

impl Body {
    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Counted(bytes) => bytes.len(),
            Self::Chunked(chunks, ..) => chunks.iter().map(Vec::len).sum(),
        }
    }

    /// Header, body.
    fn wire(&self) -> (String, Vec<u8>) {
        match self {
            Self::None => (String::new(), Vec::new()),
            Self::Counted(bytes) => (format!("Content-Length: {}\r\n", bytes.len()), bytes.clone()),
            Self::Chunked(chunks, extensions, trailers) => {
                let mut body = Vec::new();
                for chunk in chunks {
                    let extension = if *extensions { ";name=\"va;lue\"" } else { "" };
                    body.extend(format!("{:X}{extension}\r\n", chunk.len()).bytes());
                    body.extend(chunk);
                    body.extend(b"\r\n");
                }
                body.extend(if *trailers { &b"0\r\nX-Sum: 1\r\nY: z\r\n\r\n"[..] } else { b"0\r\n\r\n" });
                ("Transfer-Encoding: chunked\r\n".to_owned(), body)
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Turn {
    method: &'static str,
    path: String,
    agent: usize,
    up: Body,
    status: u16,
    interim: Option<u16>,
    down: Body,
    /// The next request is sent before the response to this.
    pipelined: bool,
}

impl Turn {
    fn bodyless(&self) -> bool {
        self.method == "HEAD" || matches!(self.status, 204 | 304)
    }

    /// Head and body of the request.
    fn request(&self) -> (Vec<u8>, Vec<u8>) {
        let (header, body) = self.up.wire();
        let agent = "u".repeat(self.agent);
        let head = format!("{} {} HTTP/1.1\r\nHost: h\r\nUser-Agent: {agent}\r\n{header}\r\n", self.method, self.path);
        (head.into_bytes(), body)
    }

    /// Interim head, head and body of the response.
    fn response(&self) -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        let interim = self.interim.map_or(String::new(), |status| format!("HTTP/1.1 {status} Wait\r\nX: y\r\n\r\n"));
        let (header, body) = self.down.wire();
        let header = if matches!(self.down, Body::None) { "Content-Length: 0\r\n".to_owned() } else { header };
        let head = format!("HTTP/1.1 {} Why\r\nServer: s\r\n{header}\r\n", self.status);
        (interim.into_bytes(), head.into_bytes(), if self.bodyless() { Vec::new() } else { body })
    }

    fn told(&self) -> String {
        let down = if self.bodyless() { 0 } else { self.down.len() };
        format!("{} {} {} {}→{down}", self.method, self.path, self.status, self.up.len())
    }
}

/// Bytes that look like messages and ends of messages, and others.
fn bytes(max: usize) -> BoxedStrategy<Vec<u8>> {
    let words = prop_oneof![
        Just(&b"GET / HTTP/1.1\r\n\r\n"[..]),
        Just(&b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"[..]),
        Just(&b"\r\n0\r\n\r\n"[..]),
        Just(&b"\r\n\r\n"[..]),
        Just(&b"G"[..]),
        Just(&b"\x00\xff\x16\x03"[..]),
        Just(&b"plain text of no meaning at all, repeated; "[..]),
    ];
    prop::collection::vec((words, 1_usize..40), 0..max)
        .prop_map(|words| words.into_iter().flat_map(|(word, count)| word.repeat(count)).collect())
        .boxed()
}

/// Bytes in which nothing looks like the end of a body.
fn harmless(max: usize) -> BoxedStrategy<Vec<u8>> {
    prop::collection::vec(any::<u8>().prop_map(|byte| if byte == b'\n' { b'n' } else { byte }), 0..max).boxed()
}

fn framed(content: BoxedStrategy<Vec<u8>>) -> BoxedStrategy<Body> {
    prop_oneof![
        2 => Just(Body::None),
        2 => content.clone().prop_map(Body::Counted),
        3 => (prop::collection::vec(content, 0..4), any::<bool>(), any::<bool>()).prop_map(|(chunks, extensions, trailers)| {
            Body::Chunked(chunks.into_iter().filter(|chunk| !chunk.is_empty()).collect(), extensions, trailers)
        }),
    ]
    .boxed()
}

fn turn(body: BoxedStrategy<Body>) -> impl Strategy<Value = Turn> {
    (
        prop::sample::select(vec!["GET", "POST", "HEAD", "DELETE", "get", "X-ODD"]),
        "/[a-z]{0,40}",
        0_usize..300,
        body.clone(),
        prop::sample::select(vec![200_u16, 201, 204, 304, 404, 500]),
        prop::option::weighted(0.3, prop::sample::select(vec![100_u16, 102, 103])),
        body,
        any::<bool>(),
    )
        .prop_map(|(method, path, agent, up, status, interim, down, pipelined)| Turn {
            method,
            path,
            agent,
            up,
            status,
            interim,
            down,
            pipelined,
        })
}

/// Runs of bytes in order; requests of a run of pipelined turns come before their responses.
fn script(turns: &[Turn]) -> Vec<(bool, Vec<u8>)> {
    let mut script = Vec::new();
    for run in turns.chunk_by(|before, _| before.pipelined) {
        for turn in run {
            let (head, body) = turn.request();
            script.push((true, [head, body].concat()));
        }
        for turn in run {
            let (interim, head, body) = turn.response();
            script.push((false, [interim, head, body].concat()));
        }
    }
    script
}

fn direction(wire: &Wire, request: bool) -> Direction {
    if request { wire.requests() } else { wire.responses() }
}

/// The conversation without its times.
fn details(wire: &Wire) -> Vec<Operation> {
    wire.out.iter().map(|exchange| exchange.operation.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_a_conversation_gives_the_same_exchanges(
        turns in prop::collection::vec(turn(framed(bytes(4))), 1..7),
        sizes in prop::collection::vec(prop_oneof![Just(1_usize), 1_usize..20, 1_usize..5000], 1..50),
        client in any::<bool>(),
    ) {
        let role = if client { Role::Client } else { Role::Server };
        let expected: Vec<_> = turns.iter().map(Turn::told).collect();
        let mut whole = Wire::new(role);
        let mut split = Wire::new(role);
        let mut sizes = sizes.iter().cycle();
        // Runs of one direction are one stream: pieces may span messages.
        for run in script(&turns).chunk_by(|before, after| before.0 == after.0) {
            let stream: Vec<u8> = run.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            whole.piece(direction(&whole, run[0].0), &stream, 0, &[], false);
            let mut rest = &stream[..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                split.piece(direction(&split, run[0].0), piece, 0, &[], false);
                rest = behind;
            }
        }
        prop_assert_eq!(whole.told(), expected);
        prop_assert_eq!(details(&split), details(&whole));
        prop_assert!(split.out.iter().all(|exchange| exchange.outcome == Outcome::Complete));
        prop_assert_eq!(split.session.open_requests(), 0);
        prop_assert_eq!(split.anomalies(), Anomalies::default());
    }

    #[test]
    fn capture_limits_never_give_a_wrong_count_or_status_or_path(
        turns in prop::collection::vec(turn(framed(harmless(9000))), 1..7),
        sizes in prop::collection::vec(1_usize..6000, 1..20),
        limits in prop::collection::vec(prop_oneof![Just(0_usize), 0_usize..64, 0_usize..5000], 1..20),
    ) {
        let mut wire = Wire::server();
        let mut sizes = sizes.iter().cycle();
        let mut limits = limits.iter().cycle();
        let mut send = |wire: &mut Wire, request: bool, head: Vec<u8>, body: Vec<u8>| {
            // The first piece has the head; it is captured whole.
            let first = body.len().min(*sizes.next().unwrap() - 1);
            let piece = [&head[..], &body[..first]].concat();
            wire.limited(direction(wire, request), &piece, head.len() + limits.next().unwrap());
            let mut rest = &body[first..];
            while !rest.is_empty() {
                let (piece, behind) = rest.split_at((*sizes.next().unwrap()).min(rest.len()));
                wire.limited(direction(wire, request), piece, *limits.next().unwrap());
                rest = behind;
            }
        };
        for run in turns.chunk_by(|before, _| before.pipelined) {
            for turn in run {
                let (head, body) = turn.request();
                send(&mut wire, true, head, body);
            }
            for turn in run {
                let (interim, head, body) = turn.response();
                if !interim.is_empty() {
                    send(&mut wire, false, interim, Vec::new());
                }
                send(&mut wire, false, head, body);
            }
        }
        wire.end(End::Closed);
        prop_assert_eq!(wire.out.len(), turns.len());
        for (exchange, turn) in wire.out.iter().zip(&turns) {
            let http = http(exchange);
            prop_assert_eq!(http.status, Some(turn.status));
            prop_assert_eq!(http.target.as_deref(), Some(&*turn.path));
            prop_assert_eq!(http.method.as_deref(), Some(turn.method));
            prop_assert_eq!(exchange.outcome, Outcome::Complete);
            // A size is right or unknown.
            prop_assert!(http.request_body_bytes.is_none_or(|bytes| bytes == turn.up.len() as u64));
            let down = if turn.bodyless() { 0 } else { turn.down.len() as u64 };
            prop_assert!(http.response_body_bytes.is_none_or(|bytes| bytes == down));
        }
    }

    #[test]
    fn nothing_makes_it_panic_or_loop_or_grow(
        turns in prop::collection::vec(turn(framed(bytes(4))), 1..4),
        noise in prop::collection::vec(bytes(3), 1..5),
        steps in prop::collection::vec((any::<(bool, u8, u8, bool)>(), any::<prop::sample::Index>(), 0_usize..3000, 0_u64..5000), 1..80),
        repeat in 1_usize..20,
    ) {
        let mut material: Vec<u8> = script(&turns).into_iter().flat_map(|(_, bytes)| bytes).collect();
        material.extend(noise.concat());
        let mut wire = Wire::server();
        for ((request, mutate, kind, lost), from, len, skipped) in steps.iter().cycle().take(steps.len() * repeat) {
            let from = from.index(material.len());
            let mut data = material[from..(from + len).min(material.len())].to_vec();
            if mutate % 4 == 0 && !data.is_empty() {
                let at = usize::from(*mutate) % data.len();
                data[at] = *kind;
            }
            let skipped = if kind % 2 == 0 { 0 } else if kind % 31 == 0 { u64::MAX - 4096 } else { *skipped };
            let tail = &material[..usize::try_from(skipped.min(32)).unwrap().min(material.len())];
            wire.piece(direction(&wire, *request), &data, skipped, tail, *lost);
            match kind {
                7 => wire.out.of(|out| wire.session.on_end_of_stream(Direction::Sent, wire.now, out)),
                8 => wire.out.of(|out| wire.session.on_end_of_stream(Direction::Received, wire.now, out)),
                _ => {}
            }
            prop_assert!(wire.session.memory() < 2 << 20);
            prop_assert!(wire.session.open_requests() <= 1024);
        }
        wire.end([End::Closed, End::Reset, End::Forgotten][repeat % 3]);
        prop_assert!(wire.interest != Interest::Parse || wire.session.open_requests() == 0);
        for exchange in wire.out.iter() {
            prop_assert!(exchange.start_ns <= exchange.end_ns);
            prop_assert!(exchange.first_byte_ns.is_none_or(|at| exchange.start_ns <= at && at <= exchange.end_ns));
            // A response of HTTP/0.9 has none.
            let has_status = http(exchange).status.is_some() || http(exchange).version == "0.9";
            prop_assert!(exchange.outcome != Outcome::Complete || has_status);
        }
    }

    #[test]
    fn random_bytes_are_no_http(head in prop::collection::vec(any::<u8>(), 14..200)) {
        prop_assert!(!matches!(super::super::recognise(&head), crate::protocols::Recognition::Request | crate::protocols::Recognition::Response));
    }
}
