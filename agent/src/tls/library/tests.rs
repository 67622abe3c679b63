//! Over programs compiled by the test, over libraries of this machine where they are, and over broken files.

use std::{io::Write, path::Path, process::Command};

use proptest::prelude::*;

use super::*;

fn compile(dir: &Path, source: &str, flags: &[&str]) -> File {
    std::fs::write(dir.join("x.c"), source).unwrap();
    let status = Command::new("cc").args(["-o", "out", "x.c"]).args(flags).current_dir(dir).status().unwrap();
    assert!(status.success());
    File::open(dir.join("out")).unwrap()
}

fn names(library: &Library) -> Vec<&'static str> {
    let mut names: Vec<_> = library.sites.iter().map(|site| site.name).collect();
    names.sort_unstable();
    names
}

const OPENSSL: &str = "
    int SSL_read(void*s,void*b,int n){return n;} int SSL_write(void*s,void*b,int n){return n+1;}
    void SSL_free(void*s){*(volatile int*)s=1;}
    int my_SSL_read(int n){return n+2;}";

#[test]
fn functions_are_found_in_a_shared_library_by_its_dynamic_symbols() {
    let dir = tempfile::tempdir().unwrap();
    let library = Library::read(&compile(dir.path(), OPENSSL, &["-shared", "-fPIC", "-s"])).unwrap().unwrap();
    assert_eq!(names(&library), ["SSL_free", "SSL_read", "SSL_write"]);
    assert!(library.refused.is_empty());
}

#[test]
fn functions_linked_into_a_program_are_found_by_its_symbol_table() {
    let dir = tempfile::tempdir().unwrap();
    let source = format!("{OPENSSL} int main(){{return my_SSL_read(SSL_read(0,0,1))+SSL_write(0,0,1);}}");
    for flags in [&["-static"][..], &["-static-pie"], &["-no-pie"], &["-pie", "-fPIE"]] {
        let library = Library::read(&compile(dir.path(), &source, flags)).unwrap().unwrap();
        assert_eq!(names(&library), ["SSL_free", "SSL_read", "SSL_write"], "{flags:?}");
    }
}

#[test]
fn a_site_is_where_the_code_is_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        __asm__(".globl SSL_write\n.type SSL_write,@function\nSSL_write: mov $0x5ca1ab1e, %eax\nret\n.size SSL_write, .-SSL_write");
        int SSL_read(void*s,void*b,int n){return n;}"#;
    let file = compile(dir.path(), source, &["-shared", "-fPIC"]);
    let library = Library::read(&file).unwrap().unwrap();
    let site = library.sites.iter().find(|site| site.name == "SSL_write").unwrap();
    let mut code = [0; 6];
    file.read_exact_at(&mut code, site.entry.plain.offset).unwrap();
    assert_eq!(code, *b"\xb8\x1e\xab\xa1\x5c\xc3");
    assert_eq!(
        (site.entry.plain.code.as_slice(), site.returns.len()),
        (&code[..5], 0),
        "how it ends is of no interest"
    );
    // Other code at the same place is noticed.
    assert!(site.entry.plain.is_in(&file));
    let changed = temporary(&vec![0x90; usize::try_from(site.entry.plain.offset).unwrap() + 5]);
    assert!(!site.entry.plain.is_in(&changed) && !site.entry.plain.is_in(&temporary(b"")));
}

#[test]
fn a_program_that_only_uses_a_library_has_no_sites() {
    let dir = tempfile::tempdir().unwrap();
    let source = "int SSL_read(void*,void*,int); int SSL_write(void*,void*,int);
        int f(){return SSL_read(0,0,1)+SSL_write(0,0,1);}";
    assert_eq!(Library::read(&compile(dir.path(), source, &["-shared", "-fPIC"])).unwrap(), None);
    // A variable of that name is no function either.
    let source = "int SSL_read = 1, SSL_write = 2;";
    assert_eq!(Library::read(&compile(dir.path(), source, &["-shared", "-fPIC"])).unwrap(), None);
}

#[test]
fn a_library_whose_code_is_not_as_expected_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        __asm__(".globl SSL_write\n.type SSL_write,@function\nSSL_write: .byte 0x06, 0x06\nret\n.size SSL_write, .-SSL_write");
        int SSL_read(void*s,void*b,int n){return n;}"#;
    let library = Library::read(&compile(dir.path(), source, &["-shared", "-fPIC"])).unwrap().unwrap();
    assert!(library.sites.is_empty());
    assert_eq!(library.refused, ["SSL_write: its code cannot be decoded at byte 0"]);
    // No size: where it ends, and so whether it is a function at all, is not known.
    let source = r#"
        __asm__(".globl SSL_write\n.type SSL_write,@function\nSSL_write: ret");
        int SSL_read(void*s,void*b,int n){return n;}"#;
    let library = Library::read(&compile(dir.path(), source, &["-shared", "-fPIC"])).unwrap().unwrap();
    assert_eq!(library.refused, ["SSL_write: its symbol has no size"]);
}

#[test]
fn a_function_that_hands_over_to_another_is_not_probed_too() {
    let dir = tempfile::tempdir().unwrap();
    let source = "
        __attribute__((noinline,visibility(\"hidden\"))) int SSL_write_ex2(void*s,void*b,long n,long f,long*w){*w=n;return 1;}
        int SSL_write_ex(void*s,void*b,long n,long*w){return SSL_write_ex2(s,b,n,0,w);}
        int SSL_read(void*s,void*b,int n){return n;}";
    for level in ["-O0", "-O2"] {
        let file = compile(dir.path(), source, &["-shared", "-fPIC", level]);
        let found = names(&Library::read(&file).unwrap().unwrap());
        // At -O2 the compiler may have put the inner one into the outer, and then both are needed.
        assert!(found == ["SSL_read", "SSL_write_ex2"] || level == "-O2" && found.len() == 3, "{level}: {found:?}");
    }
}

/// rustls's functions by their symbols, in a program of another language. One of them reached by two names, as happens
/// where two functions turn out the same.
const RUSTLS: [&str; 3] = [
    r#"int e(int n) __asm__("_ZN111_$LT$rustls..crypto..ring..tls13..Tls13MessageEncrypter$u20$as$u20$rustls..crypto..cipher..MessageEncrypter$GT$7encrypt17he697c471ddfbdf84E");
       int e(int n){return n+1;}"#,
    r#"int m(int n) __asm__("_ZN105_$LT$rustls..crypto..ring..tls13..Aes128GcmAead$u20$as$u20$rustls..crypto..cipher..Tls13AeadAlgorithm$GT$9encrypter17h1fdd405f1b43f50aE");
       int m(int n){return n+2;}
       int a(int n) __asm__("_ZN105_$LT$rustls..crypto..ring..tls13..Aes256GcmAead$u20$as$u20$rustls..crypto..cipher..Tls13AeadAlgorithm$GT$9encrypter17h7b59988376efb084E")
           __attribute__((alias("_ZN105_$LT$rustls..crypto..ring..tls13..Aes128GcmAead$u20$as$u20$rustls..crypto..cipher..Tls13AeadAlgorithm$GT$9encrypter17h1fdd405f1b43f50aE")));"#,
    r#"int d(int n) __asm__("_ZN6rustls12common_state11CommonState23take_received_plaintext17hfc33212888c692c2E");
       int d(int n){return n+3;}"#,
];

#[test]
fn functions_of_rustls_are_found_by_parts_of_their_names() {
    let dir = tempfile::tempdir().unwrap();
    let source = format!("{} int main(){{return 0;}}", RUSTLS.concat());
    for flags in [&["-no-pie"][..], &["-pie", "-fPIE"]] {
        let library = Library::read(&compile(dir.path(), &source, flags)).unwrap().unwrap();
        assert_eq!(
            names(&library),
            [
                "rustls AeadAlgorithm::encrypter",
                "rustls CommonState::take_received_plaintext",
                "rustls MessageEncrypter::encrypt"
            ],
            "{flags:?}"
        );
    }
    assert_eq!(Library::read(&compile(dir.path(), &source, &["-s"])).unwrap(), None, "stripped");
}

#[test]
fn a_program_that_lacks_one_of_them_has_no_sites_of_rustls() {
    let dir = tempfile::tempdir().unwrap();
    for lacking in 0..RUSTLS.len() {
        let rest: String =
            RUSTLS.iter().enumerate().filter(|&(i, _)| i != lacking).map(|(_, source)| *source).collect();
        let alone = format!("{rest} int main(){{return 0;}}");
        assert_eq!(Library::read(&compile(dir.path(), &alone, &[])).unwrap(), None, "{lacking}");
        // Another library's beside it are not.
        let beside = format!("{rest} {OPENSSL} int main(){{return 0;}}");
        let library = Library::read(&compile(dir.path(), &beside, &[])).unwrap().unwrap();
        assert_eq!(names(&library), ["SSL_free", "SSL_read", "SSL_write"], "{lacking}");
    }
}

#[test]
fn a_name_is_found_wherever_the_pieces_it_is_read_in_end() {
    let of = |bytes: &'static [u8], at| whole_name(bytes, at);
    assert_eq!(of(b"\0abc\0def\0", 2), Some((1, &b"abc"[..])));
    assert_eq!(of(b"\0abc\0def\0", 5), Some((5, &b"def"[..])));
    // It begins before, or ends behind.
    assert_eq!(of(b"abc\0", 1), None);
    assert_eq!(of(b"\0abc", 1), None);
}

#[test]
fn the_libraries_of_this_machine_are_understood() {
    let all = [
        "SSL_do_handshake",
        "SSL_free",
        "SSL_peek",
        "SSL_peek_ex",
        "SSL_read",
        "SSL_read_ex",
        "SSL_shutdown",
        "SSL_write",
        "SSL_write_ex",
    ];
    let gnutls = [
        "gnutls_bye",
        "gnutls_deinit",
        "gnutls_handshake",
        "gnutls_record_cork",
        "gnutls_record_recv",
        "gnutls_record_recv_packet",
        "gnutls_record_recv_seq",
        "gnutls_record_send2",
        "gnutls_record_send_range",
        "gnutls_record_uncork",
    ];
    for (path, expected) in [
        ("/usr/lib/x86_64-linux-gnu/libssl.so.3", &all[..]),
        ("/usr/lib/x86_64-linux-gnu/libgnutls.so.30", &gnutls[..]),
        ("/usr/bin/node", &all[..]),
    ] {
        let Ok(file) = File::open(path) else {
            eprintln!("skipped: {path} is not here");
            continue;
        };
        let Some(library) = Library::read(&file).unwrap() else {
            assert_eq!(path, "/usr/bin/node", "{path} has no TLS functions");
            eprintln!("skipped: {path} is linked to OpenSSL elsewhere");
            continue;
        };
        assert_eq!((library.refused.as_slice(), names(&library)), (&[][..], expected.to_vec()), "{path}");
        assert_returns_are_known(&library, &file);
    }
}

/// Of what the kernel need not step through. In Debian's OpenSSL the instruction is the `js` behind `test %edx,%edx`, and the `jne`
/// of the stack protector; `SSL_read_ex` has neither.
#[test]
fn cheaper_instructions_stand_for_beginnings_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let source = "int f(void*,void*,char*);
        int SSL_read(void*s,void*b,int n){char c[8];if(n<0)return -1;return f(s,b,c)+c[0];}
        int SSL_write(void*s,void*b,int n){return n;}";
    let file =
        compile(dir.path(), source, &["-O2", "-shared", "-fPIC", "-fstack-protector-all", "-fcf-protection=none"]);
    let library = Library::read(&file).unwrap().unwrap();
    let site = library.sites.iter().find(|site| site.name == "SSL_read").unwrap();
    let entry = site.entry.cheap.as_ref().unwrap();
    assert!(entry.is_in(&file) && entry.from == site.entry.plain.offset, "{entry:?}");
    for place in &site.returns {
        let (plain, cheap) = (&place.plain, place.cheap.as_ref().unwrap());
        assert!(cheap.is_in(&file) && cheap.offset < plain.offset && cheap.depth > 0, "{place:?}");
        assert_eq!((place.probed(true), place.probed(false)), (cheap, plain));
        // Neither without all that lies between.
        let mut bytes = vec![0; usize::try_from(plain.offset).unwrap() + 1];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes[usize::try_from(plain.offset).unwrap() - 1] ^= 1;
        assert!(!cheap.is_in(&temporary(&bytes)) && plain.is_in(&temporary(&bytes)));
    }
}

/// Functions whose end is of interest have a `ret` for every way out, each of them once.
fn assert_returns_are_known(library: &Library, file: &File) {
    let mut known = HashSet::new();
    for site in &library.sites {
        assert!(site.returns.is_empty() || site.function.programs().1.is_some(), "{site:?}");
        for at in &site.returns {
            assert!(
                at.plain.is_in(file) && at.plain.code.last() == Some(&0xc3) && known.insert(at.plain.offset),
                "{site:?}"
            );
        }
    }
    let all: Vec<Function> = library.sites.iter().map(|site| site.function).collect();
    assert!(
        known.len() >= all.iter().filter(|&&of| matches!(of, Function::Read | Function::ReadEx)).count(),
        "{all:?}"
    );
}

#[test]
fn a_function_that_ends_in_another_returns_where_that_one_does() {
    let dir = tempfile::tempdir().unwrap();
    let source = r#"
        __asm__(".type inner,@function\ninner: .cfi_startproc\ntest %edi,%edi\njs 1f\nret\n1: or $-1,%eax\nrepz ret\n.cfi_endproc\n.size inner, .-inner");
        __asm__(".globl SSL_read\n.type SSL_read,@function\nSSL_read: .cfi_startproc\nendbr64\njmp inner\n.cfi_endproc\n.size SSL_read, .-SSL_read");
        int SSL_write(void*s,void*b,int n){return n;}"#;
    // Of the inner function nothing but its frame is known.
    let file = compile(dir.path(), source, &["-shared", "-fPIC", "-s"]);
    let library = Library::read(&file).unwrap().unwrap();
    assert_returns_are_known(&library, &file);
    let site = library.sites.iter().find(|site| site.name == "SSL_read").unwrap();
    let mut codes: Vec<_> = site.returns.iter().map(|at| at.plain.code.clone()).collect();
    codes.sort();
    assert_eq!(codes, [b"\xc3".to_vec(), b"\xf3\xc3".to_vec()]);
}

/// One that reads, and of which it is not known where it returns, is left alone, and with it the library.
#[test]
fn a_function_that_may_return_anywhere_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let jumps = |name: &str| {
        format!(
            r#"__asm__(".globl {name}\n.type {name},@function\n{name}: mov (%rdi),%rax\njmp *%rax\n.size {name}, .-{name}");"#
        )
    };
    let rest = "int SSL_write(void*s,void*b,int n){return n;}";
    let source = format!("{} {rest}", jumps("SSL_read"));
    let library = Library::read(&compile(dir.path(), &source, &["-shared", "-fPIC"])).unwrap().unwrap();
    assert!(library.sites.is_empty());
    assert_eq!(library.refused, ["SSL_read: it jumps to an address that only its run tells"]);
    // Before 1.1.0 it leads to a function that is seen instead.
    let source = format!("{} int ssl3_read(void*s,void*b,int n){{return n+1;}} {rest}", jumps("SSL_read"));
    let library = Library::read(&compile(dir.path(), &source, &["-shared", "-fPIC"])).unwrap().unwrap();
    assert_eq!(names(&library), ["SSL_write", "ssl3_read"]);
    // A handshake is seen to begin.
    let source = format!("{} int SSL_read(void*s,void*b,int n){{return n+1;}} {rest}", jumps("SSL_do_handshake"));
    let library = Library::read(&compile(dir.path(), &source, &["-shared", "-fPIC"])).unwrap().unwrap();
    let handshake = library.sites.iter().find(|site| site.name == "SSL_do_handshake").unwrap();
    assert_eq!((handshake.function, handshake.returns.len()), (Function::Observe, 0));
}

#[test]
fn a_shell_has_no_tls_functions() {
    assert_eq!(Library::read(&File::open("/bin/sh").unwrap()).unwrap(), None);
}

fn temporary(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn what_is_no_elf_file_is_an_error() {
    assert!(Library::read(&temporary(b"")).is_err());
    assert!(Library::read(&temporary(&[0x7f; 4096])).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_damaged_file_is_read_or_refused(at in 0usize..64, value: u8, cut in 0usize..16384) {
        let dir = tempfile::tempdir().unwrap();
        static GOOD: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let good = GOOD.get_or_init(|| {
            compile(dir.path(), OPENSSL, &["-shared", "-fPIC"]);
            std::fs::read(dir.path().join("out")).unwrap()
        });
        let mut bytes = good.clone();
        bytes[at] = value;
        bytes.truncate(good.len() - cut.min(good.len()));
        if let Ok(Some(library)) = Library::read(&temporary(&bytes)) {
            prop_assert!(library.sites.iter().all(|site| site.entry.plain.offset < bytes.len() as u64));
        }
    }
}

#[test]
fn a_table_that_is_full_of_our_names_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = compile(dir.path(), OPENSSL, &["-shared", "-fPIC"]);
    drop(file);
    let path = dir.path().join("out");
    let mut bytes = std::fs::read(&path).unwrap();
    // The dynamic symbols' names move to the end of the file: a million times ours.
    let names = b"\0SSL_read".repeat(1 << 20);
    let (at, len) = (bytes.len() as u64, names.len() as u64);
    let sections = u64::from_le_bytes(bytes[0x28..0x30].try_into().unwrap()) as usize;
    let count = u16::from_le_bytes(bytes[0x3c..0x3e].try_into().unwrap()) as usize;
    for section in (0..count).map(|index| sections + index * 64) {
        const STRTAB: u32 = 3;
        if u32::from_le_bytes(bytes[section + 4..section + 8].try_into().unwrap()) == STRTAB {
            bytes[section + 24..section + 32].copy_from_slice(&at.to_le_bytes());
            bytes[section + 32..section + 40].copy_from_slice(&len.to_le_bytes());
        }
    }
    bytes.extend_from_slice(&names);
    std::fs::write(&path, &bytes).unwrap();
    let began = std::time::Instant::now();
    let error = Library::read(&File::open(&path).unwrap()).unwrap_err();
    assert!(error.to_string().contains("too many names"), "{error}");
    assert!(began.elapsed() < std::time::Duration::from_secs(2), "{:?}", began.elapsed());
}
