//! What a DNS answer says of addresses (RFC 1035): the name that was asked for, and the addresses it stands for.

use std::net::IpAddr;

use compact_str::CompactString;
use domain::{
    base::{
        Message, ParsedName, Rtype, ToName as _,
        iana::{Class, Opcode, Rcode},
    },
    rdata::{A, Aaaa, Cname},
};

/// Longest name, as text (RFC 1035, 2.3.4).
const NAME_MAX: usize = 253;
/// Most names on the way from the one that was asked for to the one that has addresses: resolvers give up before.
const CHAIN_MAX: usize = 16;
/// Most records looked at: a message of the size that is captured has no more.
const RECORDS_MAX: usize = 128;

/// An answer that has addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolved {
    /// The name that was asked for, in lower case, without its last dot.
    pub(super) name: CompactString,
    /// Its addresses, and for how many seconds each is said to be so.
    pub(super) addresses: Vec<(IpAddr, u32)>,
}

/// A record of use.
enum Data<'a> {
    Address(IpAddr),
    Alias(ParsedName<&'a [u8]>),
}

/// Reads a message; `None` where it is no answer, or has no address. Of one that was cut off, the records that are whole
/// are used.
#[must_use]
pub(super) fn parse(message: &[u8]) -> Option<Resolved> {
    let message = Message::from_octets(message).ok()?;
    let header = message.header();
    if !header.qr() || header.opcode() != Opcode::QUERY || header.rcode() != Rcode::NOERROR {
        return None;
    }
    if message.header_counts().qdcount() != 1 {
        return None;
    }
    let question = message.question().next()?.ok()?;
    // The answer to a question about an address (PTR) is no name that the process has asked for.
    if question.qclass() != Class::IN || !matches!(question.qtype(), Rtype::A | Rtype::AAAA | Rtype::ANY) {
        return None;
    }
    let name = text(question.qname())?;
    let mut records = Vec::new();
    for record in message.answer().ok()?.take(RECORDS_MAX) {
        // What comes after a broken record cannot be found.
        let Ok(record) = record else { break };
        if record.class() != Class::IN {
            continue;
        }
        let data = match record.rtype() {
            Rtype::A => record.to_record::<A>().ok().flatten().map(|it| Data::Address(it.data().addr().into())),
            Rtype::AAAA => record.to_record::<Aaaa>().ok().flatten().map(|it| Data::Address(it.data().addr().into())),
            Rtype::CNAME => {
                record.to_record::<Cname<_>>().ok().flatten().map(|it| Data::Alias(it.into_data().into_cname()))
            }
            _ => None,
        };
        records.extend(data.map(|data| (record.owner(), record.ttl().as_secs(), data)));
    }

    // The chain is only as good as its shortest-lived part.
    let (mut owner, mut ttl) = (*question.qname(), u32::MAX);
    for _ in 0..CHAIN_MAX {
        let of_owner = || records.iter().filter(|(of, _, _)| of.name_eq(&owner));
        let addresses: Vec<(IpAddr, u32)> = of_owner()
            .filter_map(|(_, its, data)| match data {
                Data::Address(ip) => Some((ip.to_canonical(), ttl.min(*its))),
                Data::Alias(_) => None,
            })
            .collect();
        if !addresses.is_empty() {
            return Some(Resolved { name, addresses });
        }
        let alias = of_owner().find_map(|(_, its, data)| match data {
            Data::Alias(alias) => Some((*alias, *its)),
            Data::Address(_) => None,
        });
        let (next, its) = alias?;
        (owner, ttl) = (next, ttl.min(its));
    }
    None
}

/// A name as text, if it is one that hosts have; in lower case, since resolvers mix it to tell forged answers.
fn text(name: &impl domain::base::ToName) -> Option<CompactString> {
    let mut text = CompactString::const_new("");
    for label in name.iter_labels().filter(|label| !label.is_root()) {
        if !text.is_empty() {
            text.push('.');
        }
        for &byte in label.as_slice() {
            if !byte.is_ascii_alphanumeric() && !matches!(byte, b'-' | b'_') {
                return None;
            }
            text.push(char::from(byte.to_ascii_lowercase()));
        }
    }
    let is_name = !text.is_empty() && text.len() <= NAME_MAX && text.parse::<IpAddr>().is_err();
    is_name.then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Question for `name` (as on the wire) with this type, and these records.
    fn message(flags: u16, name: &[u8], kind: u16, records: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = vec![0x12, 0x34];
        bytes.extend(flags.to_be_bytes());
        for count in [1, u16::try_from(records.len()).unwrap(), 0, 0] {
            bytes.extend(count.to_be_bytes());
        }
        bytes.extend(name);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(1_u16.to_be_bytes());
        bytes.extend(records.concat());
        bytes
    }

    fn record(owner: &[u8], kind: u16, class: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = owner.to_vec();
        bytes.extend(kind.to_be_bytes());
        bytes.extend(class.to_be_bytes());
        bytes.extend(ttl.to_be_bytes());
        bytes.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend(data);
        bytes
    }

    const ANSWER: u16 = 0x8180;
    const SHOP: &[u8] = b"\x04Shop\x07example\x00";
    const EDGE: &[u8] = b"\x04edge\x03cdn\x00";
    /// To the name of the question.
    const BACK: &[u8] = &[0xc0, 12];
    const A: u16 = 1;
    const CNAME: u16 = 5;
    const PTR: u16 = 12;
    const AAAA: u16 = 28;

    fn read(records: &[Vec<u8>]) -> Option<Resolved> {
        parse(&message(ANSWER, SHOP, A, records))
    }

    fn shop(addresses: &[(&str, u32)]) -> Option<Resolved> {
        let addresses = addresses.iter().map(|(ip, ttl)| (ip.parse().unwrap(), *ttl)).collect();
        Some(Resolved { name: "shop.example".into(), addresses })
    }

    #[test]
    fn the_addresses_of_the_name_that_was_asked_for_are_found() {
        let two = [record(BACK, A, 1, 30, &[10, 0, 0, 7]), record(BACK, A, 1, 60, &[10, 0, 0, 8])];
        assert_eq!(read(&two), shop(&[("10.0.0.7", 30), ("10.0.0.8", 60)]));
        let mut six = [0; 16];
        six[15] = 1;
        let answer = message(ANSWER, SHOP, AAAA, &[record(b"\x04sHOP\x07EXAMPLE\x00", AAAA, 1, 5, &six)]);
        assert_eq!(parse(&answer), shop(&[("::1", 5)]));
    }

    #[test]
    fn aliases_are_followed_to_the_name_that_was_asked_for_in_any_order() {
        let alias = record(BACK, CNAME, 1, 20, EDGE);
        let address = record(EDGE, A, 1, 300, &[10, 0, 0, 7]);
        let foreign = record(b"\x05other\x00", A, 1, 300, &[10, 0, 0, 9]);
        assert_eq!(read(&[alias.clone(), address.clone(), foreign.clone()]), shop(&[("10.0.0.7", 20)]));
        assert_eq!(read(&[foreign, address.clone(), alias]), shop(&[("10.0.0.7", 20)]));
        assert_eq!(read(&[address]), None, "nothing leads there");
    }

    #[test]
    fn what_is_no_answer_with_addresses_is_nothing() {
        let address = record(BACK, A, 1, 30, &[10, 0, 0, 7]);
        let with = |flags, name: &[u8], kind| parse(&message(flags, name, kind, std::slice::from_ref(&address)));
        assert!(with(ANSWER, SHOP, A).is_some());
        assert_eq!(with(0x0100, SHOP, A), None, "a question");
        assert_eq!(with(0x8183, SHOP, A), None, "there is no such name");
        assert_eq!(with(0x9180, SHOP, A), None, "another operation");
        assert_eq!(with(ANSWER, SHOP, PTR), None, "the name of an address");
        assert_eq!(with(ANSWER, b"\x00", A), None, "the root");
        assert_eq!(with(ANSWER, b"\x0210\x010\x010\x017\x00", A), None, "an address is no name");
        assert_eq!(with(ANSWER, b"\x04sh p\x00", A), None, "no name of a host");
        assert_eq!(with(ANSWER, b"\x04a\"\n\x1b\x00", A), None, "no name of a host");
        assert_eq!(read(&[]), None);
        assert_eq!(read(&[record(BACK, A, 3, 30, &[10, 0, 0, 7])]), None, "another class");
        assert_eq!(read(&[record(BACK, A, 1, 30, &[10, 0, 0])]), None, "no address");
    }

    #[test]
    fn of_a_message_that_was_cut_off_whole_records_are_used() {
        let two = [record(BACK, A, 1, 30, &[10, 0, 0, 7]), record(BACK, A, 1, 60, &[10, 0, 0, 8])];
        let whole = message(ANSWER, SHOP, A, &two);
        for cut in 1..16 {
            assert_eq!(parse(&whole[..whole.len() - cut]), shop(&[("10.0.0.7", 30)]), "{cut}");
        }
        for len in 0..whole.len() - 31 {
            assert_eq!(parse(&whole[..len]), None, "{len}");
        }
    }

    #[test]
    fn pointers_and_aliases_in_circles_end() {
        for pointer in [&[0xc0, 12][..], &[0xc0, 14], &[0x01, b'a', 0xc0, 12], &[0xc0, 0xff], &[0xff, 0xff]] {
            assert_eq!(parse(&message(ANSWER, pointer, A, &[record(pointer, A, 1, 1, &[10, 0, 0, 7])])), None);
        }
        let circle = [record(BACK, CNAME, 1, 20, EDGE), record(EDGE, CNAME, 1, 20, SHOP)];
        assert_eq!(read(&circle), None);
        assert_eq!(read(&[record(BACK, CNAME, 1, 20, BACK)]), None);
    }

    #[test]
    fn counts_that_are_not_true_cost_nothing() {
        let mut one = message(ANSWER, SHOP, A, &[record(BACK, A, 1, 30, &[10, 0, 0, 7])]);
        one[6..12].fill(0xff);
        assert_eq!(parse(&one), shop(&[("10.0.0.7", 30)]));
        one[5] = 2;
        assert_eq!(parse(&one), None, "two questions");
        let many = vec![record(BACK, A, 1, 30, &[10, 0, 0, 7]); 2 * RECORDS_MAX];
        assert!(read(&many).unwrap().addresses.len() <= RECORDS_MAX);
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_read_without_a_panic_and_give_bounded_names(
            flags in prop_oneof![Just(ANSWER), any::<u16>()],
            name in prop_oneof![Just(SHOP.to_vec()), prop::collection::vec(any::<u8>(), 0..80)],
            rest in prop::collection::vec(any::<u8>(), 0..400),
            counts in any::<[u8; 8]>(),
            keeps_counts in any::<bool>(),
        ) {
            let mut bytes = message(flags, &name, A, &[rest]);
            if !keeps_counts {
                bytes[4..12].copy_from_slice(&counts);
            }
            if let Some(resolved) = parse(&bytes) {
                prop_assert!(resolved.name.len() <= NAME_MAX && !resolved.name.is_empty());
                prop_assert!(resolved.addresses.len() <= RECORDS_MAX && !resolved.addresses.is_empty());
            }
        }

        #[test]
        fn a_changed_byte_of_a_good_answer_does_no_harm(at in 0_usize..120, byte in any::<u8>()) {
            let records = [record(BACK, CNAME, 1, 20, EDGE), record(EDGE, A, 1, 300, &[10, 0, 0, 7])];
            let mut bytes = message(ANSWER, SHOP, A, &records);
            let len = bytes.len();
            bytes[at % len] = byte;
            if let Some(resolved) = parse(&bytes) {
                prop_assert!(resolved.name.len() <= NAME_MAX);
            }
        }
    }
}
