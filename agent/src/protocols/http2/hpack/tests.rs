use proptest::prelude::*;

use super::*;

/// A block's fields as `name=value`; `?` where unknown.
fn decode(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Error> {
    let mut fields = Vec::new();
    decoder.decode(block, true, &mut |decoded| {
        fields.push(match decoded {
            Decoded::Known { field, value, .. } => format!("{field:?}={}", String::from_utf8_lossy(value)),
            Decoded::Unknown(_) => "?".to_owned(),
        });
    })?;
    Ok(fields)
}

fn fresh() -> Decoder {
    let mut decoder = Decoder::unknown();
    decoder.assume_complete();
    decoder
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

#[test]
fn integers_of_the_rfc_are_read() {
    // Appendix C.1.
    assert_eq!(integer(&mut &[0b1110_1010][..], 5), Ok(10));
    assert_eq!(integer(&mut &[0b0001_1111, 0b1001_1010, 0b0000_1010][..], 5), Ok(1337));
    assert_eq!(integer(&mut &[42][..], 8), Ok(42));
    assert_eq!(integer(&mut &[0x1f, 0x9a][..], 5), Err(Error::Short));
    assert_eq!(integer(&mut &[0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..], 5), Err(Error::Integer));
    assert_eq!(integer(&mut &[0x1f, 0xff, 0xff, 0xff, 0xff, 0x7f][..], 5), Err(Error::Integer));
}

#[test]
fn literals_of_the_rfc_are_read() {
    // Appendix C.2: with indexing, without, never, and an indexed field.
    let with_indexing = hex("400a 6375 7374 6f6d 2d6b 6579 0d63 7573 746f 6d2d 6865 6164 6572");
    assert_eq!(decode(&mut fresh(), &with_indexing).unwrap(), ["Other="]);
    assert_eq!(decode(&mut fresh(), &hex("040c 2f73 616d 706c 652f 7061 7468")).unwrap(), ["Path=/sample/path"]);
    assert_eq!(decode(&mut fresh(), &hex("1008 7061 7373 776f 7264 0673 6563 7265 74")).unwrap(), ["Other="]);
    assert_eq!(decode(&mut fresh(), &hex("82")).unwrap(), ["Method=GET"]);
}

/// Requests of Appendix C.3 and C.4.
fn assert_requests(blocks: [&str; 3]) {
    let mut decoder = fresh();
    let first = ["Method=GET", "Scheme=http", "Path=/", "Authority=www.example.com"];
    assert_eq!(decode(&mut decoder, &hex(blocks[0])).unwrap(), first);
    let second = ["Method=GET", "Scheme=http", "Path=/", "Authority=www.example.com", "Other="];
    assert_eq!(decode(&mut decoder, &hex(blocks[1])).unwrap(), second);
    let third = ["Method=GET", "Scheme=https", "Path=/index.html", "Authority=www.example.com", "Other="];
    assert_eq!(decode(&mut decoder, &hex(blocks[2])).unwrap(), third);
    let Ok(Lookup::Known(newest)) = decoder.table.get(0) else { panic!("custom-key should be there") };
    assert_eq!((newest.name_len, newest.value_len), (10, 12));
}

#[test]
fn requests_of_the_rfc_are_read() {
    assert_requests([
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ]);
    assert_requests([
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ]);
}

/// Responses of Appendix C.5 and C.6, with a table of 256 bytes that has to evict.
fn assert_responses(blocks: [&str; 3]) {
    let mut decoder = fresh();
    decoder.table.resize(256);
    let first = ["Status=302", "Other=", "Other=", "Other="];
    assert_eq!(decode(&mut decoder, &hex(blocks[0])).unwrap(), first);
    let second = ["Status=307", "Other=", "Other=", "Other="];
    assert_eq!(decode(&mut decoder, &hex(blocks[1])).unwrap(), second);
    let third = ["Status=200", "Other=", "Other=", "Other=", "Other=", "Other="];
    assert_eq!(decode(&mut decoder, &hex(blocks[2])).unwrap(), third);
    // set-cookie, content-encoding, date; everything else was evicted.
    assert!(matches!(decoder.table.get(2), Ok(Lookup::Known(Entry { name_len: 4, value_len: 29, .. }))));
    assert!(decoder.table.get(3).is_err());
}

#[test]
fn responses_of_the_rfc_are_read() {
    assert_responses([
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d \
         546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f \
         6f3d 4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b \
         2076 6572 7369 6f6e 3d31",
    ]);
    assert_responses([
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 \
         8f0b 97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 \
         dfdf cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ]);
}

#[test]
fn fields_from_before_our_time_are_unknown_and_keep_their_identity() {
    let mut decoder = Decoder::unknown();
    let tell = |decoder: &mut Decoder, block: &[u8]| {
        let mut ids = Vec::new();
        decoder
            .decode(block, true, &mut |decoded| {
                if let Decoded::Unknown(id) = decoded {
                    ids.push(id);
                }
            })
            .unwrap();
        ids
    };
    let ids = tell(&mut decoder, &[0xbe, 0xbf]);
    // A literal `:path: /x` moves both up by one.
    let later = tell(&mut decoder, &[0x44, 2, b'/', b'x', 0xbf, 0xc0, 0xbe]);
    assert_eq!(ids, later);
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), ["Path=/x"]);
}

#[test]
fn a_known_value_with_an_unknown_name_stays_unknown() {
    let mut decoder = Decoder::unknown();
    // Literal with indexing; the name is that of an entry from before our time.
    assert_eq!(decode(&mut decoder, &[0x7f, 0x00, 2, b'/', b'x']).unwrap(), ["?"]);
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), ["?"]);
}

#[test]
fn a_cut_block_tells_its_beginning_and_forgets_the_table() {
    let mut decoder = fresh();
    let block = [0x44, 2, b'/', b'x', 0x82, 0x41, 3, b'w'];
    let mut fields = 0;
    decoder.decode(&block, false, &mut |_| fields += 1).unwrap();
    assert_eq!(fields, 2);
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), ["?"]);
    assert_eq!(decode(&mut fresh(), &block), Err(Error::Short));
}

#[test]
fn size_updates_stand_before_the_first_field() {
    assert!(decode(&mut fresh(), &[0x20, 0x3f, 0xe1, 0x1f, 0x82]).is_ok());
    assert_eq!(decode(&mut fresh(), &[0x82, 0x20]), Err(Error::SizeUpdate));
    assert_eq!(decode(&mut fresh(), &[0x20, 0x20, 0x20]), Err(Error::SizeUpdate));
}

#[test]
fn nonsense_is_refused_and_knowledge_is_dropped() {
    assert_eq!(decode(&mut fresh(), &[0x80]), Err(Error::Index));
    assert_eq!(decode(&mut fresh(), &[0xbe]), Err(Error::Index), "nothing was inserted yet");
    let mut decoder = fresh();
    decode(&mut decoder, &[0x44, 2, b'/', b'x']).unwrap();
    assert!(decode(&mut decoder, &[0xbf]).is_err());
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), ["?"]);
    assert!(!decoder.never_lost());
}

#[test]
fn a_bomb_is_cut_and_the_table_stays_right() {
    let mut decoder = fresh();
    let mut bomb = vec![0x44, 0x7f, 0xa1, 0x1e]; // :path of 4000 bytes, inserted
    bomb.extend(vec![b'/'; 4000]);
    bomb.extend(vec![0xbe; 10_000]); // and ten thousand times again
    bomb.extend([0x41, 30]); // :authority, inserted: evicts the path
    bomb.extend([b'a'; 30]);
    let mut fields = 0;
    let summary = decoder.decode(&bomb, true, &mut |_| fields += 1).unwrap();
    assert!(summary.over_limit);
    assert_eq!(fields, 64 * 1024 / 4005);
    assert_eq!(decode(&mut decoder, &[0xbe]).unwrap(), [format!("Authority={}", "a".repeat(30))]);
    assert_eq!(decode(&mut decoder, &[0xbf]), Err(Error::Index));
}

#[test]
fn a_long_value_is_cut_and_counts_with_its_whole_size() {
    let mut decoder = fresh();
    decode(&mut decoder, &[0x3f, 0xe1, 0xff, 0x03]).unwrap(); // a table of 65536
    let mut block = vec![0x44, 0x7f, 0xa1, 0x9b, 0x01]; // :path of 20000 bytes
    block.extend(vec![b'/'; 20_000]);
    let mut told = 0;
    let summary = decoder
        .decode(&block, true, &mut |decoded| {
            if let Decoded::Known { value, cut: true, .. } = decoded {
                told = value.len();
            }
        })
        .unwrap();
    assert_eq!((told, summary.over_limit), (MAX_VALUE, true));
    assert!(matches!(decoder.table.get(0), Ok(Lookup::Known(Entry { value_len: 20_000, .. }))));
}

proptest! {
    #[test]
    fn random_blocks_end_and_stay_within_bounds(blocks: Vec<Vec<u8>>, whole: bool, known: bool) {
        let mut decoder = if known { fresh() } else { Decoder::unknown() };
        for block in blocks {
            let mut fields = 0;
            let _ = decoder.decode(&block, whole, &mut |_| fields += 1);
            prop_assert!(fields <= block.len());
            prop_assert!(decoder.memory() < 512 * 1024);
        }
    }

    #[test]
    fn what_another_implementation_encodes_is_decoded(
        blocks in prop::collection::vec(prop::collection::vec((0_usize..6, 0_u8..20, any::<u8>()), 1..10), 1..20),
        table in prop::option::of(0_u32..300),
    ) {
        const NAMES: [(&str, Field); 6] = [(":path", Field::Path), (":method", Field::Method), ("te", Field::Te),
            ("x-other", Field::Other), ("content-type", Field::ContentType), (":authority", Field::Authority)];
        let mut encoder = httlib_hpack::Encoder::default();
        let mut decoder = fresh();
        for (nth, block) in blocks.into_iter().enumerate() {
            let mut bytes = Vec::new();
            if let Some(table) = table.filter(|_| nth % 4 == 1) {
                encoder.update_max_dynamic_size(table, &mut bytes).unwrap();
            }
            let mut expected = Vec::new();
            for (name, value, flags) in block {
                let (name, field) = NAMES[name];
                let value = "v".repeat(usize::from(value));
                let flags = match flags % 4 {
                    0 => httlib_hpack::Encoder::BEST_FORMAT,
                    1 => httlib_hpack::Encoder::WITH_INDEXING | httlib_hpack::Encoder::BEST_FORMAT,
                    2 => httlib_hpack::Encoder::WITH_INDEXING | httlib_hpack::Encoder::HUFFMAN_VALUE,
                    _ => httlib_hpack::Encoder::NEVER_INDEXED | httlib_hpack::Encoder::HUFFMAN_NAME,
                };
                expected.push(format!("{field:?}={}", if field == Field::Other { "" } else { &value }));
                encoder.encode((name.as_bytes().to_vec(), value.into_bytes(), flags), &mut bytes).unwrap();
            }
            prop_assert_eq!(decode(&mut decoder, &bytes).unwrap(), expected);
        }
    }
}
