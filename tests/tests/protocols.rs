//! LDAP, SMTP, IMAP and Thrift: real servers, clients of two kinds, on both backends. What the programs count is what is told, at both ends, with
//! the codes of what failed, and nothing of names, values, mails and passwords.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{
    collections::BTreeMap,
    fs,
    net::{Ipv4Addr, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
};

use serde_json::json;
use tests::{
    agent::{Backend, Setup, Watch},
    need, on_both_backends,
    program::{Program, folder, free_port},
    receiver::{ReceivedSpan, Receiver},
    seen::{Seen, assert_attributes},
    wait::poll,
};

on_both_backends!(
    operations_of_a_directory_are_told_as_its_clients_count_them,
    commands_of_mails_are_told_as_their_server_counts_them,
    commands_about_mailboxes_are_told_as_their_clients_count_them,
    calls_of_thrift_are_told_as_their_server_counts_them,
);

type Counts = BTreeMap<String, u64>;

/// `name=1 other=2`.
fn parse(counted: &str) -> Counts {
    let pair = |pair: &str| pair.split_once('=').map(|(name, count)| (name.to_owned(), count.parse().unwrap()));
    counted.split_whitespace().filter_map(pair).collect()
}

fn told<'a>(spans: impl IntoIterator<Item = &'a ReceivedSpan>, is_server: bool) -> Counts {
    let mut counts = Counts::new();
    for span in spans.into_iter().filter(|span| (span.kind == "SERVER") == is_server) {
        *counts.entry(span.name.clone()).or_default() += 1;
    }
    counts
}

/// Told at both ends, each complete, and counted once.
fn assert_told(seen: &Seen, counted: &Counts, metrics: [&str; 2]) {
    for (is_server, metric) in [(true, metrics[0]), (false, metrics[1])] {
        assert_eq!(told(&seen.spans, is_server), *counted, "server {is_server}: {}", seen.summary());
        assert_eq!(seen.count(metric), counted.values().sum::<u64>(), "{metric}");
    }
    assert!(seen.spans.iter().all(|span| !span.attributes.contains_key("beyla.outcome")), "{}", seen.summary());
    let all = format!("{:?}", seen.spans).to_lowercase();
    assert!(!all.contains("secret") && !all.contains("@shop"), "{}", seen.summary());
}

fn errors<'a>(seen: &'a Seen, kind: &str) -> BTreeMap<(&'a str, &'a str), usize> {
    let mut errors = BTreeMap::new();
    for span in seen.of_kind(kind) {
        if let Some(code) = span.attributes.get("error.type") {
            assert_eq!(span.status, "ERROR");
            *errors.entry((&*span.name, code.as_str().unwrap())).or_default() += 1;
        }
    }
    errors
}

fn python(program: &str, port: u16) -> Program {
    let mut command = Command::new(need::python());
    command.env("PYTHONPATH", need::made("wire/python")).arg("-u").arg(need::source("wire").join(program));
    let program = Program::start(command.arg(port.to_string()));
    let _ready = program.says("ready");
    program
}

fn operations_of_a_directory_are_told_as_its_clients_count_them(backend: Backend) {
    let (files, port) = (folder(), free_port());
    let of = |name: &str| files.path().join(name);
    fs::create_dir(of("db")).unwrap();
    let configuration = format!(
        "include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\ndatabase mdb\n\
         suffix \"dc=shop\"\nrootdn \"cn=admin,dc=shop\"\nrootpw secret\ndirectory {}\nmaxsize 10485760\n",
        of("db").display()
    );
    fs::write(of("slapd.conf"), configuration).unwrap();
    let mut server = Command::new(need::program("slapd"));
    server.args(["-d", "0", "-h", &format!("ldap://127.0.0.1:{port}"), "-f"]).arg(of("slapd.conf"));
    let server = Program::start(&mut server);
    poll("the directory listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    let mut client = python("ldap_client.py", port);
    // One that nobody else runs.
    let ldapsearch = of("ldapsearch");
    need::copied(&need::program("ldapsearch"), &ldapsearch);
    let receiver = Receiver::start();
    let [pid, client_pid] = [server.pid(), client.pid()].map(|pid| pid.to_string());
    let chosen = ["--pid", &pid, "--pid", &client_pid, "--exe", ldapsearch.to_str().unwrap()];
    let agent = Setup::with(chosen).backend(backend).to(&receiver).start();
    let watch = Watch { agent, receiver };
    client.tell("go");
    let mut counted = parse(&client.says("counted "));
    for _ in 0..5 {
        let mut search = Command::new(&ldapsearch);
        search.args(["-x", "-H", &format!("ldap://127.0.0.1:{port}"), "-D", "cn=admin,dc=shop", "-w", "secret"]);
        let ran = search.args(["-b", "dc=shop", "(sn=secret)"]).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
    for name in ["bind", "search", "unbind"] {
        *counted.get_mut(name).unwrap() += 5;
    }
    let seen = watch.stop_when(|state| [true, false].iter().all(|end| told(&state.spans, *end) == counted));
    assert_told(&seen, &counted, ["db.server.operation.duration", "db.client.operation.duration"]);
    for kind in ["SERVER", "CLIENT"] {
        assert_eq!(errors(&seen, kind), BTreeMap::from([(("bind", "49"), 1), (("delete", "32"), 1)]), "{kind}");
        let searches: Vec<_> = seen.of_kind(kind).into_iter().filter(|span| span.name == "search").collect();
        let rows = |span: &&ReceivedSpan| span.attributes["db.response.returned_rows"].as_u64().unwrap();
        // The first finds one, the last thirty, and so do those of the other client.
        assert_eq!(searches.iter().map(rows).sum::<u64>(), 30 * 31 / 2 + 5 * 30, "{kind}");
        let text = json!({"db.system.name": "ldap", "db.query.text": "(&(objectClass=?)(sn=?)(!(cn=?)))"});
        assert_attributes(searches[0], &text);
    }
}

fn commands_of_mails_are_told_as_their_server_counts_them(backend: Backend) {
    let port = free_port();
    let mut server = python("smtp_server.py", port);
    let mut client = python("smtp_client.py", port);
    let files = folder();
    let curl = files.path().join("curl");
    need::copied(&need::program("curl"), &curl);
    fs::write(files.path().join("mail"), format!("Subject: secret\r\n\r\n{}\r\n", "secret words\r\n".repeat(5000)))
        .unwrap();
    let receiver = Receiver::start();
    let [pid, client_pid] = [server.pid(), client.pid()].map(|pid| pid.to_string());
    let chosen = ["--pid", &pid, "--pid", &client_pid, "--exe", curl.to_str().unwrap()];
    let agent = Setup::with(chosen).backend(backend).to(&receiver).start();
    let watch = Watch { agent, receiver };
    client.tell("go");
    let _done = client.says("done");
    for _ in 0..5 {
        let mut send = Command::new(&curl);
        send.args(["-s", "--url", &format!("smtp://127.0.0.1:{port}/x"), "--mail-from", "a@shop"]);
        let ran = send.args(["--mail-rcpt", "b@shop", "-T"]).arg(files.path().join("mail")).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
    }
    server.tell("count");
    let counted = parse(&server.says("counted "));
    assert_eq!(counted["DATA"], 26);
    let seen = watch.stop_when(|state| [true, false].iter().all(|end| told(&state.spans, *end) == counted));
    assert_told(&seen, &counted, ["rpc.server.call.duration", "rpc.client.call.duration"]);
    for kind in ["SERVER", "CLIENT"] {
        assert_eq!(errors(&seen, kind), BTreeMap::from([(("DATA", "554"), 1), (("RCPT", "550"), 1)]), "{kind}");
        let refused = seen.of_kind(kind).into_iter().find(|span| span.status == "ERROR").unwrap();
        assert_attributes(refused, &json!({"rpc.system.name": "smtp", "rpc.method": refused.name}));
    }
}

/// A server whose mailboxes everybody may use who knows the password.
fn dovecot(files: &Path, port: u16) -> Program {
    // What its own users are to get through to.
    fs::set_permissions(files, fs::Permissions::from_mode(0o755)).unwrap();
    let mail = files.join("mail");
    fs::create_dir(&mail).unwrap();
    fs::set_permissions(&mail, fs::Permissions::from_mode(0o777)).unwrap();
    let (files, mail) = (files.display(), mail.display());
    let configuration = format!(
        "base_dir = {files}/run\nstate_dir = {files}/run\nlog_path = /dev/stderr\nprotocols = imap\nlisten = 127.0.0.1\nssl = no\n\
         disable_plaintext_auth = no\nauth_failure_delay = 0\nmail_location = maildir:{mail}/%u\nfirst_valid_uid = 1\n\
         passdb {{\n  driver = static\n  args = password=secret\n}}\n\
         userdb {{\n  driver = static\n  args = uid=dovecot gid=dovecot home={mail}/%u\n}}\n\
         service imap-login {{\n  service_count = 0\n  process_min_avail = 1\n  inet_listener imap {{\n\
             port = {port}\n  }}\n  inet_listener imaps {{\n    port = 0\n  }}\n}}\n"
    );
    let path = format!("{files}/dovecot.conf");
    fs::write(&path, configuration).unwrap();
    let server = Program::start(Command::new(need::program("dovecot")).args(["-F", "-c", &path]));
    poll("the server listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    server
}

fn commands_about_mailboxes_are_told_as_their_clients_count_them(backend: Backend) {
    let (files, port) = (folder(), free_port());
    let server = dovecot(files.path(), port);
    let mut client = python("imap_client.py", port);
    let curl = files.path().join("curl");
    need::copied(&need::program("curl"), &curl);
    let receiver = Receiver::start();
    let [pid, client_pid] = [server.pid(), client.pid()].map(|pid| pid.to_string());
    let chosen = ["--pid", &pid, "--pid", &client_pid, "--exe", curl.to_str().unwrap()];
    let agent = Setup::with(chosen).backend(backend).to(&receiver).start();
    let watch = Watch { agent, receiver };
    client.tell("go");
    let counted = parse(&client.says("counted ")).into_iter();
    let mut counted: Counts = counted.map(|(name, count)| (name.replace("UID_", "UID "), count)).collect();
    for nth in 1..=5 {
        let mut read = Command::new(&curl);
        read.args(["-sv", "-u", "alice:secret", &format!("imap://127.0.0.1:{port}/INBOX;MAILINDEX={nth}")]);
        let ran = read.output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        // `> A001 CAPABILITY`
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        let commands = said.lines().filter_map(|line| line.strip_prefix("> A0")?.split(' ').nth(1));
        commands.for_each(|name| *counted.entry(name.trim().to_owned()).or_default() += 1);
        // That it leaves is not among what it says.
        *counted.entry("LOGOUT".to_owned()).or_default() += u64::from(!said.contains("LOGOUT"));
    }
    assert_eq!((counted["FETCH"], counted["AUTHENTICATE"]), (15, 5));
    let seen = watch.stop_when(|state| [true, false].iter().all(|end| told(&state.spans, *end) == counted));
    assert_told(&seen, &counted, ["rpc.server.call.duration", "rpc.client.call.duration"]);
    for kind in ["SERVER", "CLIENT"] {
        let expected = BTreeMap::from([(("LOGIN", "NO"), 1), (("SELECT", "NO"), 1), (("_OTHER", "BAD"), 1)]);
        assert_eq!(errors(&seen, kind), expected, "{kind}");
        let append = seen.of_kind(kind).into_iter().find(|span| span.name == "APPEND").unwrap();
        assert_attributes(append, &json!({"rpc.system.name": "imap", "rpc.method": "APPEND"}));
        let idle = seen.of_kind(kind).into_iter().find(|span| span.name == "IDLE").unwrap();
        assert!(idle.duration_ns() >= 40_000_000, "it was waited for: {idle:?}");
    }
}

fn calls_of_thrift_are_told_as_their_server_counts_them(backend: Backend) {
    let port = free_port();
    let mut server = python("thrift_server.py", port);
    let mut client = python("thrift_client.py", port);
    let watch = Watch::pids(backend, &[server.pid(), client.pid()]);
    client.tell("go");
    let _done = client.says("done");
    server.tell("count");
    let answered: u64 = server.says("answered ").trim().parse().unwrap();
    let counted = parse("total=42 divide=40 unknown=40 log=40");
    assert_eq!(counted.values().sum::<u64>(), answered);
    let seen = watch.stop_when(|state| [true, false].iter().all(|end| told(&state.spans, *end) == counted));
    assert_told(&seen, &counted, ["rpc.server.call.duration", "rpc.client.call.duration"]);
    for kind in ["SERVER", "CLIENT"] {
        let expected = BTreeMap::from([(("divide", "exception"), 40), (("unknown", "UNKNOWN_METHOD"), 40)]);
        assert_eq!(errors(&seen, kind), expected, "{kind}");
        assert_attributes(seen.of_kind(kind)[0], &json!({"rpc.system.name": "thrift"}));
    }
}
