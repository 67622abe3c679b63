//! Pieces that were lost, on connections whose frames the kernel side follows.

use super::{
    super::{super::Frames, *},
    wire::*,
};
use crate::model::exchange::Outcome;

const OK: [(&str, &str); 1] = [(":status", "200")];
const OF_FIVE: [(&str, &str); 2] = [(":status", "200"), ("content-length", "5")];

/// A connection without a quiet moment; `found` stands in all of its pieces.
struct Busy {
    wire: Wire,
    reader: Reader,
    found: u8,
    /// Bytes of requests and responses so far.
    moved: [u64; 2],
}

impl Busy {
    /// Seen from its beginning, with two requests that were answered.
    fn new(found: u8) -> Self {
        let mut busy = Self { wire: Wire::new(), reader: Reader::new(Role::Server), found, moved: [0; 2] };
        busy.reader.feed_all(&busy.wire.pieces);
        busy.wire.pieces.clear();
        for id in [1, 3] {
            busy.exchange(id);
        }
        busy
    }

    fn exchange(&mut self, id: u32) {
        self.wire.get(id, &format!("/{id}"));
        self.wire.answer(id, END_STREAM, &OK);
        self.move_all(|chunk| chunk);
    }

    /// What was written moves, as `change` has it.
    fn move_all<'a>(&mut self, change: impl Fn(Chunk<'a>) -> Chunk<'a>) {
        for piece in std::mem::take(&mut self.wire.pieces) {
            let bytes: &[u8] = Vec::leak(piece.bytes);
            self.feed(piece.side, change(Chunk { frames: self.frames(Some(0)), ..whole(50_000, bytes) }));
        }
    }

    fn feed(&mut self, side: Side, chunk: Chunk<'_>) {
        let position = &mut self.moved[side as usize];
        self.reader.feed(side, &Chunk { position: *position, ..chunk });
        *position += chunk.len();
    }

    fn frames(&self, first: Option<usize>) -> Option<Frames> {
        Some(Frames { first, found: self.found })
    }

    /// What was written is lost.
    fn lose(&mut self) {
        self.move_all(|chunk| Chunk { data: &[], skipped: chunk.data.len() as u64, lost: true, frames: None, ..chunk });
    }

    fn told(&self) -> Vec<String> {
        self.reader.out.iter().map(|it| http(it).target.clone().unwrap_or_default().into()).collect()
    }

    fn requests_lost(&mut self) -> u64 {
        self.reader.session.take_anomalies().requests_lost
    }
}

#[test]
fn what_follows_a_loss_is_told_where_frames_were_followed_meanwhile() {
    for found in [0, 7] {
        let mut busy = Busy::new(found);
        busy.wire.get(5, "/lost");
        busy.wire.answer(5, END_STREAM, &OK);
        busy.lose();
        // A piece that begins within a frame.
        busy.wire.get(7, "/7");
        let piece = [&[0; 20][..], &busy.wire.pieces.remove(0).bytes].concat();
        busy.feed(Side::Requests, Chunk { frames: busy.frames(Some(20)), ..whole(60_000, &piece) });
        busy.wire.answer(7, END_STREAM, &OK);
        busy.exchange(9);
        assert_eq!(busy.told(), ["/1", "/3", "/7", "/9"], "found {found}");
        assert_eq!(busy.requests_lost(), 0, "the kernel side counts them");
    }
}

/// What had to be found again may not be what it seems.
#[test]
fn what_was_not_followed_is_found_by_proof_and_counted_by_number() {
    let mut busy = Busy::new(1);
    for id in [5, 7, 9] {
        busy.wire.get(id, "/lost");
    }
    busy.lose();
    busy.found = 2;
    for id in [11, 13, 15, 17, 19] {
        busy.exchange(id);
    }
    let told = busy.told();
    let [.., before_last, last] = &told[..] else { panic!("{told:?}") };
    assert_eq!([before_last, last], ["/17", "/19"]);
    assert_eq!(told.len() as u64 + busy.requests_lost(), 10);
}

#[test]
fn what_is_said_of_frames_is_not_believed_once_it_was_wrong() {
    let mut busy = Busy::new(1);
    busy.wire.get(5, "/5");
    busy.wire.answer(5, END_STREAM, &OK);
    let wrong = busy.frames(Some(4));
    busy.move_all(|chunk| Chunk { frames: wrong, ..chunk });
    busy.wire.get(7, "/lost");
    busy.lose();
    busy.wire.get(9, "/9");
    busy.wire.answer(9, END_STREAM, &OK);
    busy.move_all(|chunk| chunk);
    assert_eq!(busy.told(), ["/1", "/3", "/5"]);
}

#[test]
fn no_more_are_counted_than_bytes_have_moved() {
    let mut busy = Busy::new(0);
    busy.wire.get(5, "/lost");
    busy.lose();
    busy.wire.get(0x7fff_ffff, "/far");
    let bytes = std::mem::take(&mut busy.wire.pieces).remove(0).bytes;
    busy.feed(Side::Requests, after_rest(60_000, &bytes));
    assert!((1..10).contains(&busy.requests_lost()));
}

#[test]
fn requests_of_which_only_the_answer_was_seen_are_counted_at_the_end() {
    let mut busy = Busy::new(1);
    busy.wire.get(5, "/5");
    busy.move_all(|chunk| Chunk { frames: None, ..chunk });
    // That they are followed was wrong.
    let wrong = busy.frames(Some(4));
    busy.wire.answer(5, END_STREAM, &OK);
    busy.move_all(|chunk| chunk);
    busy.wire.get(7, "/7");
    busy.move_all(|chunk| Chunk { frames: wrong, ..chunk });
    for id in [9, 11] {
        busy.wire.get(id, "/lost");
    }
    busy.lose();
    for id in [9, 11] {
        busy.wire.answer(id, END_STREAM, &OK);
    }
    busy.move_all(|chunk| chunk);
    let (reader, moved) = (&mut busy.reader, u64::MAX);
    reader.out.of(|out| reader.session.on_end(End::Closed, moved, out));
    assert_eq!(busy.requests_lost(), 2);
}

/// A client that has all that was announced resets the stream, libcurl for one.
#[test]
fn a_loss_before_a_response_began_does_not_make_it_a_part() {
    let mut busy = Busy::new(0);
    busy.wire.get(5, "/whole");
    busy.move_all(|chunk| chunk);
    busy.wire.response(frame(6, 0, 0, &[0; 8]));
    busy.lose();
    busy.wire.answer(5, 0, &OF_FIVE);
    busy.wire.response(data(0, 5, &[0; 5]));
    busy.wire.request(rst(5, 5));
    busy.move_all(|chunk| chunk);
    let last = busy.reader.out.last().unwrap();
    assert_eq!((last.outcome, http(last).response_body_bytes), (Outcome::Complete, Some(5)));
}

#[test]
fn a_reset_of_a_response_of_which_a_part_was_lost_is_unseen() {
    let mut busy = Busy::new(0);
    busy.wire.get(5, "/part");
    busy.wire.answer(5, 0, &OF_FIVE);
    busy.move_all(|chunk| chunk);
    busy.wire.response(data(0, 5, &[0; 4]));
    busy.lose();
    busy.wire.response(data(0, 5, &[0]));
    busy.wire.request(rst(5, 5));
    busy.move_all(|chunk| chunk);
    assert_eq!(busy.reader.out.last().unwrap().outcome, Outcome::Unseen);
}
