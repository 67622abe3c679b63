//! Over real programs of this machine, compiled by the test, and over broken files.

use std::{io::Write, path::Path, process::Command};

use proptest::prelude::*;

use super::*;

fn compile(dir: &Path, source: &str, command: &[&str]) -> File {
    std::fs::write(dir.join(command[command.len() - 1]), source).unwrap();
    let status = Command::new(command[0]).args(&command[1..]).current_dir(dir).status().unwrap();
    assert!(status.success());
    File::open(dir.join("out")).unwrap()
}

#[test]
fn stripped_c_and_rust_programs_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let c = compile(dir.path(), "int main(){return 0;}", &["cc", "-s", "-o", "out", "x.c"]);
    assert_eq!((language(&c), tls(&c)), (Some(Language::Cpp), None));
    // As distributions strip: without the compiler's comment.
    let bare = ["cc", "-s", "-o", "out", "-Wl,--no-as-needed", "-lstdc++", "x.c"];
    drop(compile(dir.path(), "int main(){return 0;}", &bare));
    let strip = Command::new("strip").args(["-R", ".comment", "out"]).current_dir(dir.path()).status().unwrap();
    assert!(strip.success());
    assert_eq!(language(&File::open(dir.path().join("out")).unwrap()), Some(Language::Cpp));
    let rust = compile(
        dir.path(),
        "fn main(){println!(\"{}\", std::env::args().count());}",
        &["rustc", "-C", "strip=symbols", "-o", "out", "x.rs"],
    );
    assert_eq!((language(&rust), tls(&rust)), (Some(Language::Rust), None));
}

#[test]
fn a_go_program_is_recognised_by_its_sections() {
    // Sections named as Go's linker names them are what counts; a Go toolchain is not needed for that.
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        __attribute__((section(".go.buildinfo"))) const char info[] = "\xff Go buildinf:";
        __attribute__((section(".gopclntab"))) const char names[] = "crypto/tls.(*Conn).Write";
        int main(){return 0;}"#;
    let go = compile(dir.path(), source, &["cc", "-o", "out", "x.c"]);
    assert_eq!((language(&go), tls(&go)), (Some(Language::Go), Some(TlsLibrary::GoTls)));
}

#[test]
fn an_sdk_that_is_compiled_in_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let build = |section: &str, text: &str| {
        let source = format!("{section} const char text[] = \"{text}\"; int main(){{return 0;}}");
        compile(dir.path(), &source, &["cc", "-o", "out", "x.c"])
    };
    let go = "__attribute__((section(\".go.buildinfo\")))";
    for (section, text, expected) in [
        (go, "dep\\tgo.opentelemetry.io/otel/sdk\\tv1.47.0\\th1:", true),
        (go, "dep\\tgo.opentelemetry.io/otel\\tv1.47.0\\th1:", false),
        ("", "index-1/opentelemetry_sdk-0.33.1/src/trace/span.rs", true),
        ("", "index-1/opentelemetry-0.33.1/src/trace/span.rs", false),
    ] {
        assert_eq!(has_sdk(&build(section, text)), Some(expected), "{text}");
    }
}

#[test]
fn a_tls_library_linked_in_is_found_by_its_functions() {
    let dir = tempfile::tempdir().unwrap();
    let source = "int SSL_write(){return 0;} int main(){return SSL_write();}";
    let program = compile(dir.path(), source, &["cc", "-o", "out", "x.c"]);
    assert_eq!(tls(&program), Some(TlsLibrary::OpenSsl));
    let source =
        "int aws_lc_0_41_0_OPENSSL_free(){return 0;} int SSL_write(){return 0;} int main(){return SSL_write();}";
    let program = compile(dir.path(), source, &["cc", "-o", "out", "x.c"]);
    assert_eq!(tls(&program), Some(TlsLibrary::AwsLc));
}

#[test]
fn rustls_says_whether_its_functions_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let function = |name: &str| {
        let plain = name.len();
        format!("int f{plain}(void) __asm__(\"{name}\"); int f{plain}(void){{return {plain};}}")
    };
    let names = [
        "_ZN111_$LT$rustls..Tls13MessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17he697c471ddfbdf84E",
        "_ZN105_$LT$rustls..Aes128GcmAead$u20$as$u20$rustls..crypto..cipher..Tls13AeadAlgorithm$GT$9encrypter17h1fdd405f1b43f50aE",
        "_ZN6rustls12common_state11CommonState23take_received_plaintext17hfc33212888c692c2E",
    ];
    let build = |names: &[&str], flags: &[&str]| {
        let functions: String = names.iter().map(|name| function(name)).collect();
        let source = format!("const char text[] = \"/rustls-0.23.46/src/\"; {functions} int main(){{return 0;}}");
        compile(dir.path(), &source, &[&["cc", "-o", "out"], flags, &["x.c"]].concat())
    };
    assert_eq!(tls(&build(&names, &[])), Some(TlsLibrary::Rustls));
    assert_eq!(tls(&build(&names[..2], &[])), Some(TlsLibrary::RustlsInlined));
    assert_eq!(tls(&build(&names, &["-s"])), Some(TlsLibrary::RustlsStripped));
    assert_eq!(TlsLibrary::Rustls.unseen(), None);
    assert!(TlsLibrary::RustlsInlined.unseen().is_some() && TlsLibrary::RustlsStripped.unseen().is_some());
}

#[test]
fn a_mapped_librarys_name_says_which_it_is() {
    let known =
        |name: &str| Tls::of_library(name).map(|tls| (tls.library, tls.version.unwrap_or_default().to_string()));
    assert_eq!(known("libssl.so.3"), Some((TlsLibrary::OpenSsl, "3".into())));
    assert_eq!(known("libssl-3e69114b.so.1.1"), Some((TlsLibrary::OpenSsl, "1.1".into())));
    assert_eq!(known("libgnutls.so.30.34.1"), Some((TlsLibrary::GnuTls, "30.34.1".into())));
    assert_eq!(known("libssl3.so"), Some((TlsLibrary::Nss, String::new())));
    assert_eq!(known("libc.so.6"), None);
    for name in
        ["libssl3.so", "libwolfssl.so.42", "libmbedtls.so.21", "libjvm.so", "cygrpc.cpython-311-x86_64-linux-gnu.so"]
    {
        let tls = Tls::of_library(name).unwrap_or_else(|| panic!("{name} is not known"));
        assert!(tls.library.unseen().is_some(), "{name}");
    }
}

#[test]
fn a_stripped_program_tells_its_library_by_its_texts() {
    let dir = tempfile::tempdir().unwrap();
    for (text, expected) in [
        ("third_party/boringssl/src/ssl/ssl_lib.cc", TlsLibrary::BoringSslStripped),
        ("ssl/ssl_lib.c", TlsLibrary::OpenSslStripped),
    ] {
        let source = format!("#include <stdio.h>\nint main(){{puts(\"{text}\");return 0;}}");
        let program = compile(dir.path(), &source, &["cc", "-s", "-o", "out", "x.c"]);
        assert_eq!(tls(&program), Some(expected));
        assert!(expected.unseen().is_some());
    }
}

#[test]
fn a_text_across_two_pieces_is_found() {
    let mut file = tempfile::tempfile().unwrap();
    for at in [PIECE - 3, PIECE, 2 * PIECE - 1, 10] {
        let mut bytes = vec![b'x'; 3 * PIECE];
        bytes[at..at + 6].copy_from_slice(b"needle");
        file.set_len(0).unwrap();
        file.write_all_at(&bytes, 0).unwrap();
        assert_eq!(search(&file, (0, bytes.len() as u64), &[b"nothing", b"needle"]), Some(1), "at {at}");
        assert_eq!(search(&file, (0, at as u64 + 5), &[b"needle"]), None, "at {at}");
    }
    file.flush().unwrap();
    assert_eq!(search(&file, (u64::MAX, 5), &[b"needle"]), None);
}

#[test]
fn a_file_is_looked_into_once() {
    let cache = ExecutableCache::default();
    let id = FileId { dev: 1, inode: 2, mtime_ns: 3 };
    let exe = || File::open(std::env::current_exe().unwrap());
    assert_eq!(cache.language(id, exe), Some(Language::Rust));
    assert_eq!(cache.language(id, || panic!("opened again")), Some(Language::Rust));
}

#[test]
fn a_file_that_claims_a_vast_section_table_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(compile(dir.path(), "int main(){return 0;}", &["cc", "-o", "out", "x.c"]));
    let mut bytes = std::fs::read(dir.path().join("out")).unwrap();
    let table = usize::try_from(u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap())).unwrap();
    // No number in the header: it is the size of section 0, in a file with a hole of a terabyte.
    bytes[0x3c..0x3e].fill(0);
    bytes[table + 0x20..table + 0x28].copy_from_slice(&(1u64 << 33).to_le_bytes());
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&bytes).unwrap();
    file.set_len(1 << 40).unwrap();
    assert_eq!(language(&file), None);
}

proptest! {
    #[test]
    fn a_damaged_elf_file_does_no_harm(at in 0usize..4096, byte: u8, cut in 0usize..20_000) {
        static ORIGINAL: OnceLock<Vec<u8>> = OnceLock::new();
        let original = ORIGINAL.get_or_init(|| {
            let dir = tempfile::tempdir().unwrap();
            compile(dir.path(), "int main(){return 0;}", &["cc", "-o", "out", "x.c"]);
            std::fs::read(dir.path().join("out")).unwrap()
        });
        let mut bytes = original.clone();
        // The header, and the section table at the end.
        let at = if at < 64 { at } else { bytes.len() - at.min(bytes.len()) };
        bytes[at] = byte;
        bytes.truncate(bytes.len() - cut.min(bytes.len()) / 4);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let _ = (language(&file), tls(&file));
    }
}
