//! The Huffman code of RFC 7541, Appendix B. The code is canonical (ordered by length, then by symbol), so the lengths
//! alone define it; the tables are computed from them at compile time.

/// Length of each symbol's code in bits; the last is EOS.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
     6, 10, 10, 12, 13,  6,  8, 11, 10, 10,  8, 11,  8,  6,  6,  6,  5,  5,  5,  6,  6,  6,  6,  6,  6,  6,  7,  8, 15,  6, 12, 10,
    13,  6,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  7,  8,  7,  8, 13, 19, 13, 14,  6,
    15,  5,  6,  5,  6,  5,  6,  6,  6,  5,  7,  7,  6,  6,  6,  5,  6,  7,  6,  5,  5,  6,  7,  7,  7,  7,  7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];
const EOS: u16 = 256;
const LONGEST: usize = 30;

struct Tables {
    /// By the next eight bits: symbol and length of the code they begin with; length 0 where that is longer.
    short: [(u8, u8); 256],
    /// Symbols in order of their codes.
    symbols: [u16; 257],
    /// By length: one past the last code, left-aligned in 32 bits; codes of this length or shorter lie below.
    limit: [u32; LONGEST + 1],
    /// By length: the first code, left-aligned in 32 bits.
    first: [u32; LONGEST + 1],
    /// By length: where its symbols begin in `symbols`.
    offset: [u16; LONGEST + 1],
}

static TABLES: Tables = tables();

const fn tables() -> Tables {
    let mut tables = Tables {
        short: [(0, 0); 256],
        symbols: [0; 257],
        limit: [0; LONGEST + 1],
        first: [0; LONGEST + 1],
        offset: [0; LONGEST + 1],
    };
    let (mut code, mut next, mut length) = (0_u32, 0_usize, 1_usize);
    while length <= LONGEST {
        let shift = 32 - length as u32;
        tables.first[length] = code << shift;
        tables.offset[length] = next as u16;
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                if length <= 8 {
                    let mut at = (code << (8 - length)) as usize;
                    let end = at + (1 << (8 - length));
                    while at < end {
                        tables.short[at] = (symbol as u8, length as u8);
                        at += 1;
                    }
                }
                tables.symbols[next] = symbol as u16;
                next += 1;
                code += 1;
            }
            symbol += 1;
        }
        // The last code of the greatest length is all ones; its limit does not fit and is never needed.
        tables.limit[length] = if length == LONGEST { u32::MAX } else { code << shift };
        code <<= 1;
        length += 1;
    }
    tables
}

/// Not a Huffman-coded string: EOS inside, a code cut short, or padding that is not the beginning of EOS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Invalid;

/// Appends the decoded string to `out`. It has at most 8/5 of the bytes of `src`.
pub(crate) fn decode(mut src: &[u8], out: &mut Vec<u8>) -> Result<(), Invalid> {
    out.reserve(src.len() * 8 / 5);
    // The next bits of the input, left-aligned, and how many there are.
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        // Most codes have eight bits or less, so after this there are four of them.
        if have <= 32 {
            if let Some((next, rest)) = src.split_first_chunk() {
                src = rest;
                bits |= u64::from(u32::from_be_bytes(*next)) << (32 - have);
                have += 32;
            } else {
                for byte in std::mem::take(&mut src) {
                    bits |= u64::from(*byte) << (56 - have);
                    have += 8;
                }
            }
        }
        let (symbol, mut length) = short((bits >> 56) as u8);
        if length != 0 && length <= have {
            out.push(symbol);
        } else if have < 8 {
            // Nothing but padding may be left.
            let padding = !(u64::MAX >> have);
            return if bits == padding { Ok(()) } else { Err(Invalid) };
        } else {
            let symbol;
            (symbol, length) = long((bits >> 32) as u32).ok_or(Invalid)?;
            if length > have || symbol == EOS {
                return Err(Invalid);
            }
            out.push(symbol as u8);
        }
        bits <<= length;
        have -= length;
    }
}

fn short(top: u8) -> (u8, u32) {
    let (symbol, length) = TABLES.short.get(usize::from(top)).copied().unwrap_or_default();
    (symbol, u32::from(length))
}

#[cold]
fn long(window: u32) -> Option<(u16, u32)> {
    let length = (9..=LONGEST).find(|&length| TABLES.limit.get(length).is_some_and(|&limit| window < limit));
    let length = length.unwrap_or(LONGEST);
    let nth = window.checked_sub(*TABLES.first.get(length)?)? >> (32 - length as u32);
    let symbol = *TABLES.symbols.get(usize::from(*TABLES.offset.get(length)?) + nth as usize)?;
    Some((symbol, length as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(src: &[u8]) -> Result<Vec<u8>, Invalid> {
        let mut out = Vec::new();
        decode(src, &mut out).map(|()| out)
    }

    fn encoded(plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        httlib_huffman::encode(plain, &mut out).unwrap();
        out
    }

    #[test]
    fn the_code_is_complete() {
        let sum: u64 = LENGTHS.iter().map(|&length| 1_u64 << (LONGEST - usize::from(length))).sum();
        assert_eq!(sum, 1 << LONGEST);
    }

    #[test]
    fn every_symbol_is_read_as_another_implementation_writes_it() {
        for symbol in 0..=255 {
            assert_eq!(decoded(&encoded(&[symbol])), Ok(vec![symbol]));
            assert_eq!(decoded(&encoded(&[symbol, b'a', symbol, symbol])), Ok(vec![symbol, b'a', symbol, symbol]));
        }
    }

    #[test]
    fn the_strings_of_the_rfc_are_read() {
        let coded = [0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff];
        assert_eq!(decoded(&coded).unwrap(), b"www.example.com");
        assert_eq!(decoded(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]).unwrap(), b"no-cache");
        assert_eq!(decoded(&[]).unwrap(), b"");
    }

    #[test]
    fn eos_wrong_padding_and_cut_codes_are_refused() {
        assert_eq!(decoded(&[0xff, 0xff, 0xff, 0xff]), Err(Invalid), "EOS");
        assert_eq!(decoded(&[0xff]), Err(Invalid), "eight bits of padding");
        assert_eq!(decoded(&[0x18]), Err(Invalid), "'a' and padding of zeroes");
        assert_eq!(decoded(&[0x1f]).unwrap(), b"a");
        let brace = encoded(b"{");
        assert_eq!(decoded(&brace[..1]), Err(Invalid), "a code of 15 bits, cut");
    }

    proptest! {
        #[test]
        fn what_another_implementation_encodes_is_decoded(plain: Vec<u8>) {
            prop_assert_eq!(decoded(&encoded(&plain)).unwrap(), plain);
        }

        #[test]
        fn any_bytes_end_in_an_answer_of_bounded_size(src: Vec<u8>) {
            let mut out = Vec::new();
            let _ = decode(&src, &mut out);
            prop_assert!(out.len() * 5 <= src.len() * 8);
        }
    }
}
