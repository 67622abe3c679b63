//! What is read of messages.

use super::{samples::message, *};
use crate::protocols::testing::assert_recognised;

#[test]
fn questions_and_answers_are_read() {
    let asked = read(&message(9, 0x0120, "Cart.shop", 28, &[])[2..]).unwrap();
    assert_eq!((asked.id, asked.is_answer, &*asked.question, &*asked.kind), (9, false, "Cart.shop", "AAAA"));
    let answered = read(&message(9, 0x8180, "cart.SHOP", 28, &[[10, 0, 0, 1]])[2..]).unwrap();
    assert_eq!(key(&asked), key(&answered), "whatever the letters' case");
    assert_eq!((answered.answers.len(), answered.code), (1, None));
    let refused = read(&message(9, 0x8185, "cart.shop", 1, &[])[2..]).unwrap();
    assert_eq!(refused.code.as_deref(), Some("REFUSED"));
    assert_ne!(key(&asked), key(&refused));
    let strange = read(&message(1, 0x0100, "a\u{1}b\"", 1, &[])[2..]).unwrap();
    assert_eq!(strange.question, "a\\001b\\\"");
    assert_eq!(read(&[0; 12]), None);
}

#[test]
fn what_is_recognised() {
    assert_recognised(
        recognise,
        &[
            (message(1, 0x0100, "a.b", 1, &[]), Recognition::Request),
            (message(1, 0x8583, "a.b", 1, &[]), Recognition::Response),
            (message(1, 0x2800, "a.b", 1, &[]), Recognition::No),
            (message(1, 0x0100, "a.b", 0, &[]), Recognition::No),
            (b"\x00\x0c\x00\x01\x01\x00".to_vec(), Recognition::No),
        ],
    );
}
