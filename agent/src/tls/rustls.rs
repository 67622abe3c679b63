//! Names of rustls's functions, as the compiler writes them.
//!
//! Those that encrypt, and those that make an encrypter, are called through a table of the trait, whatever the provider
//! of cryptography: they are always there. The one that takes what was decrypted has several callers, and mostly is.

use super::function::Function;
use crate::procs::executable::RUSTLS_FUNCTIONS;

/// What names of interest have in them, in the older and in the newer way to write names (`_ZN…`, `_R…`).
pub(super) const PARTS: [&[u8]; 5] = [
    RUSTLS_FUNCTIONS[0][0],
    RUSTLS_FUNCTIONS[0][1],
    RUSTLS_FUNCTIONS[1][0],
    RUSTLS_FUNCTIONS[1][1],
    RUSTLS_FUNCTIONS[2][0],
];

/// The function a name of the symbol table stands for.
pub(super) fn function(name: &[u8]) -> Option<(&'static str, Function)> {
    let name = str::from_utf8(name).ok()?;
    // What the compiler adds to a name that several of its units share.
    let name = name.split_once(".llvm.").map_or(name, |(name, _)| name);
    if let Some(rest) = name.strip_prefix("_ZN") {
        // …17h, 16 digits, E
        let (path, hash) = rest.split_at_checked(rest.len().checked_sub(20)?)?;
        let digits = hash.strip_prefix("17h")?.strip_suffix('E')?;
        return digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| legacy(path))?;
    }
    v0(name.strip_prefix("_R")?)
}

fn legacy(path: &str) -> Option<(&'static str, Function)> {
    if path == "6rustls12common_state11CommonState23take_received_plaintext" {
        return Some(DECRYPTED);
    }
    let (of, method) = path.split_once("$u20$as$u20$rustls..crypto..cipher..")?;
    if of.ends_with("..InvalidMessageEncrypter") {
        return None;
    }
    match method {
        "MessageEncrypter$GT$7encrypt" => Some(ENCRYPT),
        "Tls12AeadAlgorithm$GT$9encrypter" | "Tls13AeadAlgorithm$GT$9encrypter" => Some(ENCRYPTER),
        _ => None,
    }
}

fn v0(path: &str) -> Option<(&'static str, Function)> {
    if path.ends_with("11CommonState23take_received_plaintext") {
        return path.contains("_6rustls12common_state").then_some(DECRYPTED);
    }
    if !path.contains("6cipher") || path.contains("23InvalidMessageEncrypter") {
        return None;
    }
    if path.ends_with("16MessageEncrypter7encrypt") {
        return Some(ENCRYPT);
    }
    let makes = ["18Tls12AeadAlgorithm9encrypter", "18Tls13AeadAlgorithm9encrypter"];
    makes.iter().any(|end| path.ends_with(end)).then_some(ENCRYPTER)
}

const ENCRYPT: (&str, Function) = ("rustls MessageEncrypter::encrypt", Function::Encrypt);
const ENCRYPTER: (&str, Function) = ("rustls AeadAlgorithm::encrypter", Function::Encrypter);
const DECRYPTED: (&str, Function) = ("rustls CommonState::take_received_plaintext", Function::Decrypted);

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str) -> Option<Function> {
        function(name.as_bytes()).map(|(_, function)| function)
    }

    #[test]
    fn names_of_both_kinds_are_known() {
        for (name, expected) in [
            ("_ZN6rustls12common_state11CommonState23take_received_plaintext17hfc33212888c692c2E", Function::Decrypted),
            (
                "_ZN111_$LT$rustls..crypto..ring..tls13..Tls13MessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17he697c471ddfbdf84E",
                Function::Encrypt,
            ),
            (
                "_ZN109_$LT$rustls..crypto..ring..tls12..GcmMessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17ha451ff6f23cfb1afE.llvm.13321995431039070968",
                Function::Encrypt,
            ),
            (
                "_ZN105_$LT$rustls..crypto..ring..tls13..Aes128GcmAead$u20$as$u20$rustls..crypto..cipher..Tls13AeadAlgorithm$GT$9encrypter17h1fdd405f1b43f50aE",
                Function::Encrypter,
            ),
            (
                "_RNvMNtCs1PVfNTLNy3A_6rustls12common_stateNtB2_11CommonState23take_received_plaintext",
                Function::Decrypted,
            ),
            (
                "_RNvXNtNtNtCs1PVfNTLNy3A_6rustls6crypto4ring5tls13NtB2_21Tls13MessageEncrypterNtNtB6_6cipher16MessageEncrypter7encrypt",
                Function::Encrypt,
            ),
            (
                "_RNvXs_NtNtNtCs1PVfNTLNy3A_6rustls6crypto4ring5tls13NtB4_13Aes128GcmAeadNtNtB8_6cipher18Tls13AeadAlgorithm9encrypter",
                Function::Encrypter,
            ),
        ] {
            assert_eq!(of(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn names_like_them_are_others() {
        for name in [
            // Plaintext that came before the handshake was over.
            "_ZN6rustls6server11server_conn14EarlyDataState23take_received_plaintext17h0b8a93069379a365E",
            // It panics.
            "_ZN108_$LT$rustls..crypto..cipher..InvalidMessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17ha92d18c552c0289cE.llvm.13321995431039070968",
            "_ZN6rustls6crypto4ring5tls1313AeadAlgorithm9encrypter17hb72ef139c4271ba6E",
            "_ZN105_$LT$rustls..crypto..ring..tls13..Aes128GcmAead$u20$as$u20$rustls..crypto..cipher..Tls13AeadAlgorithm$GT$9decrypter17h1fdd405f1b43f50aE",
            "_RNvXs_NtNtCs1PVfNTLNy3A_6rustls6crypto6cipherNtB4_23InvalidMessageEncrypterNtB4_16MessageEncrypter7encrypt",
            // Another crate's.
            "_RNvMNtCs1PVfNTLNy3A_5other12common_stateNtB2_11CommonState23take_received_plaintext",
            "_ZN5other12common_state11CommonState23take_received_plaintext17hfc33212888c692c2E",
            // No hash.
            "_ZN6rustls12common_state11CommonState23take_received_plaintextE",
            "_ZN",
            "_R",
            "",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
    }
}
