//! Services with an SDK of OpenTelemetry beside services without: what the SDK describes is not told a second time, and nothing
//! that it does not describe is left out.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    LONG,
    agent::{self, Backend, Setup, Watch},
    client::Connection,
    need, on_both_backends,
    program::{Program, folder},
    receiver::{Ports, ReceivedSpan, Receiver, State, Tls},
    seen::path,
    wait::poll,
};

on_both_backends!(
    a_chain_of_which_every_second_has_an_sdk_is_one_tree,
    a_chain_with_node_by_http,
    a_chain_with_node_by_fetch,
    a_chain_with_javas_agent_and_tomcat,
    a_chain_with_javas_agent_and_its_own_server,
    a_chain_with_gos_sdk,
    a_chain_with_rusts_sdk,
    a_chain_with_pythons_sdk_in_its_own_code,
    what_is_exported_over_tls_is_not_told,
    what_is_exported_over_a_connection_that_is_older_is_not_told,
    what_an_sdk_does_not_describe_is_told,
    what_only_calls_are_described_of_is_told_to_be_asked,
    what_nobody_reads_of_gos_auto_sdk_is_told,
    what_is_to_be_ignored_or_excluded_is,
    what_is_called_while_a_span_of_the_sdk_is_active_is_below_it,
);

/// An SDK waits for so long before it exports, in ms.
const EXPORT_MS: &str = "1000";

/// Starts a service with an SDK: its name, the port of the next one, where it exports to.
type Start = fn(&str, Option<u16>, &Receiver) -> Program;

/// Tells an SDK what to do.
fn start(command: Command, name: &str, next: Option<u16>, exports_to: &Receiver) -> Program {
    start_by("http/protobuf", command, name, next, exports_to)
}

/// The same, of one that can export over gRPC, which is the default of most: the front of a chain does.
fn start_by_either(command: Command, name: &str, next: Option<u16>, exports_to: &Receiver) -> Program {
    start_by(if name == "front" { "grpc" } else { "http/protobuf" }, command, name, next, exports_to)
}

fn start_by(protocol: &str, mut command: Command, name: &str, next: Option<u16>, exports_to: &Receiver) -> Program {
    command.args(next.map(|port| port.to_string())).env("OTEL_SERVICE_NAME", name);
    command.env("OTEL_TRACES_EXPORTER", "otlp").env("OTEL_METRICS_EXPORTER", "none").env("OTEL_LOGS_EXPORTER", "none");
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol).env("OTEL_BSP_SCHEDULE_DELAY", EXPORT_MS);
    let is_grpc = protocol == "grpc";
    let endpoint = if is_grpc { exports_to.grpc_endpoint() } else { exports_to.http_endpoint() };
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    Program::start(&mut command)
}

/// A program in Python that is instrumented automatically.
fn instrumented(name: &str, source: &str, next: Option<u16>, exports_to: &Receiver) -> Program {
    let made = need::made("sdk");
    let mut command = Command::new(need::python());
    command.arg(made.join("bin/opentelemetry-instrument")).arg(need::python()).arg("-u");
    command.arg(need::source("sdk").join(source)).env("PYTHONPATH", &made);
    start_by_either(command, name, next, exports_to)
}

/// A program in Python whose own code uses the SDK.
fn own_python() -> Command {
    let mut command = Command::new(need::python());
    command.arg("-u").arg(need::source("sdk").join("own.py")).env("PYTHONPATH", need::made("sdk"));
    command
}

fn python(name: &str, next: Option<u16>, exports_to: &Receiver) -> Program {
    instrumented(name, "shop.py", next, exports_to)
}

fn node(name: &str, how: &str, next: Option<u16>, exports_to: &Receiver) -> Program {
    let mut command = Command::new(need::program("node"));
    command.args(["--require", "@opentelemetry/auto-instrumentations-node/register"]);
    command.arg(need::source("sdk-node").join("shop.js")).arg(how);
    // Else it asks the clouds whether they run it.
    command.env("NODE_PATH", need::made("sdk-node").join("node_modules")).env("OTEL_NODE_RESOURCE_DETECTORS", "env");
    start_by_either(command, name, next, exports_to)
}

fn java(name: &str, server: &str, next: Option<u16>, exports_to: &Receiver) -> Program {
    let made = need::made("sdk-java");
    let libraries = fs::read_dir(made.join("lib")).unwrap().map(|entry| entry.unwrap().path());
    let is_agent = |path: &PathBuf| path.to_string_lossy().contains("opentelemetry-javaagent");
    let [agent] = libraries.filter(is_agent).collect::<Vec<_>>().try_into().unwrap();
    let mut command = Command::new(need::program("java"));
    command.arg(format!("-javaagent:{}", agent.display())).args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]);
    command.arg("-cp").arg(format!("{0}/classes:{0}/lib/*", made.display())).args(["Shop", server]);
    let program = start_by_either(command, name, next, exports_to);
    // It goes through all classes that are loaded, which takes long on a busy machine.
    assert!(program.stdout.after(0, "listening ", 4 * LONG).is_some(), "{:?}", program.stderr.so_far());
    program
}

fn go(name: &str, next: Option<u16>, exports_to: &Receiver) -> Program {
    start(Command::new(need::made("sdk-go").join("shop")), name, next, exports_to)
}

fn rust(name: &str, next: Option<u16>, exports_to: &Receiver) -> Program {
    start(Command::new(need::built_by_cargo("sdk-rust", "sdk-rust", "")), name, next, exports_to)
}

/// One without an SDK.
fn plain(next: Option<u16>) -> Program {
    let mut command = Command::new(need::python());
    command.arg("-u").arg(need::source("sdk").join("relay.py")).args(next.map(|port| port.to_string()));
    Program::start(&mut command)
}

fn watch(backend: Backend, programs: &[&Program], change: impl FnOnce(Setup) -> Setup) -> Watch {
    let receiver = Receiver::start();
    let pids: Vec<u32> = programs.iter().map(|program| program.pid()).collect();
    let agent = change(Setup::pids(&pids).backend(backend).to(&receiver)).start();
    Watch { agent, receiver }
}

/// Who told of a span, its service, its kind.
type Told<'a> = (&'a str, &'a str, &'a str);

/// For messages: a line for each span.
fn in_short<'a>(traces: &BTreeMap<&'a str, Vec<(&str, &ReceivedSpan)>>) -> BTreeMap<&'a str, Vec<String>> {
    let line = |(by, span): &(&str, &ReceivedSpan)| {
        let place = span.attributes.get("url.path").or_else(|| span.attributes.get("url.full"));
        format!("{by} {} {} {} {place:?}, below {:?}", span.service(), span.kind, span.name, span.parent_span_id)
    };
    traces.iter().map(|(id, spans)| (*id, spans.iter().map(line).collect())).collect()
}

/// The spans of a trace, each by what it is, with its parent.
fn tree<'a>(spans: &'a [(&'a str, &'a ReceivedSpan)]) -> BTreeMap<Told<'a>, BTreeSet<Option<Told<'a>>>> {
    let told = |(by, span): &(&'a str, &'a ReceivedSpan)| (*by, span.service(), span.kind);
    let mut tree = BTreeMap::<_, BTreeSet<_>>::new();
    for each in spans {
        let parent = spans.iter().find(|(_, span)| span.span_id == each.1.parent_span_id);
        assert!(parent.is_some() || each.1.parent_span_id.is_empty(), "an orphan: {:?} in {spans:#?}", told(each));
        tree.entry(told(each)).or_default().insert(parent.map(told));
    }
    tree
}

fn a_chain_of_which_every_second_has_an_sdk_is_one_tree(backend: Backend) {
    is_one_tree(backend, python);
}

fn a_chain_with_node_by_http(backend: Backend) {
    is_one_tree(backend, |name, next, exports_to| node(name, "http", next, exports_to));
}

fn a_chain_with_node_by_fetch(backend: Backend) {
    is_one_tree(backend, |name, next, exports_to| node(name, "fetch", next, exports_to));
}

fn a_chain_with_javas_agent_and_tomcat(backend: Backend) {
    is_one_tree(backend, |name, next, exports_to| java(name, "tomcat", next, exports_to));
}

fn a_chain_with_javas_agent_and_its_own_server(backend: Backend) {
    is_one_tree(backend, |name, next, exports_to| java(name, "jdk", next, exports_to));
}

/// Their SDKs are used by code of the program's own: what they describe is known by what they export.
fn a_chain_with_gos_sdk(backend: Backend) {
    is_one_tree(backend, go);
}

fn a_chain_with_rusts_sdk(backend: Backend) {
    is_one_tree(backend, rust);
}

/// Known by what its code imports before it exports anything, and by what it exports from then on.
fn a_chain_with_pythons_sdk_in_its_own_code(backend: Backend) {
    is_one_tree_once(
        backend,
        |name, next, exports_to| start_by_either(own_python(), name, next, exports_to),
        |watch, programs| programs.iter().for_each(|program| until_known(watch, program)),
    );
}

/// Waits until the agent knows by a program's sources that it uses an SDK.
fn until_known(watch: &Watch, program: &Program) {
    until_logged_of(watch, program, "its code uses OpenTelemetry's SDK");
}

/// Waits until the agent logs something of a program.
fn until_logged_of(watch: &Watch, program: &Program, text: &str) {
    let pid = format!("pid={}", program.pid());
    let is_it = |line: &String| line.contains(text) && line.split_whitespace().any(|word| word == pid);
    poll(text, || watch.agent.log().iter().any(is_it).then_some(()));
}

fn is_one_tree(backend: Backend, start: Start) {
    is_one_tree_once(backend, start, |_, _| {});
}

fn is_one_tree_once(backend: Backend, start: Start, ready: fn(&Watch, &[&Program])) {
    const REQUESTS: usize = 5;
    let collector = Receiver::start();
    let store = plain(None);
    let back = start("back", Some(store.port()), &collector);
    let relay = plain(Some(back.port()));
    let front = start("front", Some(relay.port()), &collector);
    let watch = watch(backend, &[&front, &relay, &back, &store], |setup| setup.args(["--log-level", "debug"]));
    ready(&watch, &[&front, &back]);
    for request in 0..REQUESTS {
        // Flask's server ends each connection.
        let answer = Connection::to(front.port()).request("GET", &format!("/{request}"), &["Connection: close"], b"");
        assert_eq!(answer.status, 200);
    }
    // Of each request: front is asked, asks twice; back is asked twice, asks four times.
    let is_told = |span: &&ReceivedSpan| ["SERVER", "CLIENT"].contains(&span.kind);
    let told = |state: &State| state.spans.iter().filter(is_told).count();
    collector.wait_for(|state| told(state) >= 9 * REQUESTS, Duration::from_secs(30)).unwrap();
    // What nobody was seen to export by its end the agent tells itself.
    [&front, &back].into_iter().for_each(|program| until_logged_of(&watch, program, "spans are exported"));
    let seen = watch.stop_when(|state| state.spans.len() >= 8 * REQUESTS);
    let described = collector.spans();
    let all: Vec<(&str, &ReceivedSpan)> =
        described.iter().map(|span| ("sdk", span)).chain(seen.spans.iter().map(|span| ("agent", span))).collect();
    let mut traces = BTreeMap::<&str, Vec<(&str, &ReceivedSpan)>>::new();
    for (by, span) in all {
        traces.entry(&span.trace_id).or_default().push((by, span));
    }
    assert_eq!(traces.len(), REQUESTS, "{:#?}", in_short(&traces));
    let (asked, asks) = (("sdk", "front", "SERVER"), ("sdk", "front", "CLIENT"));
    let (relayed, relays) = (("agent", "relay", "SERVER"), ("agent", "relay", "CLIENT"));
    let (served, fetches) = (("sdk", "back", "SERVER"), ("sdk", "back", "CLIENT"));
    let stored = ("agent", "relay", "SERVER");
    for spans in traces.values() {
        let count = spans.iter().filter(|(_, span)| is_told(span)).count();
        let tree = tree(spans);
        assert_eq!(count, 17, "{tree:#?}");
        assert_eq!(tree[&asked], BTreeSet::from([None]));
        assert_eq!(tree[&asks], BTreeSet::from([Some(asked)]));
        // That of the relay and that of the store, which is the same program.
        assert_eq!((relayed, &tree[&relayed]), (stored, &BTreeSet::from([Some(asks), Some(fetches)])));
        assert_eq!(tree[&relays], BTreeSet::from([Some(relayed)]));
        assert_eq!(tree[&served], BTreeSet::from([Some(asks)]), "what came is handed on as it came");
        assert_eq!(tree[&fetches], BTreeSet::from([Some(served)]));
    }
    // Exemplars name spans that there are: of calls that the SDK describes, its own.
    let known = |by: &str, trace_id: &str, span_id: &str| {
        traces
            .get(trace_id)
            .is_some_and(|spans| spans.iter().any(|(told, span)| *told == by && span.span_id == span_id))
    };
    let mut of_sdk = 0;
    for point in seen.metrics.iter().filter(|metric| metric.name.starts_with("http.")).flat_map(|metric| &metric.points)
    {
        for exemplar in &point.exemplars {
            let is_of_sdk = known("sdk", &exemplar.trace_id, &exemplar.span_id);
            assert!(is_of_sdk || known("agent", &exemplar.trace_id, &exemplar.span_id), "{exemplar:?} of {point:?}");
            of_sdk += usize::from(is_of_sdk);
        }
    }
    assert!(of_sdk > 0, "{:#?}", seen.metrics);
    // What the SDK does not count, the agent does; its exports too.
    assert!(seen.count("http.client.request.duration") > 8 * REQUESTS as u64);
    assert_eq!(seen.count("http.server.request.duration"), 9 * REQUESTS as u64);
}

/// Over HTTP/1.1 and gRPC, where the plaintext is seen at the library; their kinds are what they are known by.
fn what_is_exported_over_tls_is_not_told(backend: Backend) {
    let files = folder();
    let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = files.path().join("cert.pem");
    fs::write(&certificate, made.cert.pem()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let (chain, key) = (vec![made.cert.der().clone()], made.signing_key.serialize_der().try_into().unwrap());
    let mut config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let collector = Receiver::start_on(Ports::default(), Some(Tls(Arc::new(config))));
    let mut in_node = Command::new(need::program("node"));
    in_node.arg(need::source("sdk-node").join("own.js")).arg("http");
    in_node.env("NODE_PATH", need::made("sdk-node").join("node_modules")).env("OTEL_NODE_RESOURCE_DETECTORS", "env");
    let [by_python, by_node] = [("http/protobuf", own_python()), ("grpc", in_node)].map(|(protocol, mut command)| {
        // For `requests` a variable of the machine would go before what the exporter asks for.
        command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", &certificate).env("REQUESTS_CA_BUNDLE", &certificate);
        start_by(protocol, command, protocol, None, &collector)
    });
    let watch = watch(backend, &[&by_python, &by_node], |setup| setup.args(["--log-level", "debug"]));
    for program in [&by_python, &by_node] {
        until_known(&watch, program);
        assert_eq!(Connection::to(program.port()).request("GET", "/x", &["Connection: close"], b"").status, 200);
    }
    collector.wait_for(|state| state.spans.iter().filter(|span| span.kind == "SERVER").count() >= 2, LONG).unwrap();
    [&by_python, &by_node].iter().for_each(|program| until_logged_of(&watch, program, "spans are exported"));
    let seen = watch.stop_when(|_| true);
    assert!(seen.spans.is_empty(), "{}", seen.summary());
}

/// What was said before in the headers of the connection is not known.
fn what_is_exported_over_a_connection_that_is_older_is_not_told(backend: Backend) {
    let collector = Receiver::start();
    let shop = start_by("grpc", own_python(), "shop", None, &collector);
    let ask = |path: &str, exported: usize| {
        assert_eq!(Connection::to(shop.port()).request("GET", path, &["Connection: close"], b"").status, 200);
        collector.wait_for(|state| state.spans.len() >= exported, LONG).unwrap();
    };
    ask("/before", 1);
    let watch = watch(backend, &[&shop], |setup| setup.args(["--log-level", "debug"]));
    until_known(&watch, &shop);
    ask("/after", 2);
    until_logged_of(&watch, &shop, "spans are exported");
    let seen = watch.stop_when(|_| true);
    assert!(seen.spans.is_empty(), "{}", seen.summary());
}

fn what_an_sdk_does_not_describe_is_told(backend: Backend) {
    let collector = Receiver::start();
    let store = plain(None);
    // `http.server` and `http.client` are instrumented by nobody.
    let relay = instrumented("relay", "relay.py", Some(store.port()), &collector);
    let watch = watch(backend, &[&relay], |setup| setup);
    let mut client = Connection::to(relay.port());
    let context = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(client.request("GET", "/x", &[context], b"").status, 200);
    let seen = watch.stop_when(|state| state.spans.iter().any(|span| span.kind == "CLIENT"));
    let mut kinds: Vec<&str> = seen.spans.iter().map(|span| span.kind).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["CLIENT", "SERVER"], "{}", seen.summary());
    assert!(seen.spans.iter().all(|span| span.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"));
}

/// Code that is its own calls the SDK, for its calls only: each begins a trace.
fn what_only_calls_are_described_of_is_told_to_be_asked(backend: Backend) {
    let collector = Receiver::start();
    let store = plain(None);
    let mut command = Command::new(need::made("sdk-go").join("shop"));
    command.env("HANDLER", "bare");
    let shop = start(command, "shop", Some(store.port()), &collector);
    let watch = watch(backend, &[&shop], |setup| setup);
    assert_eq!(Connection::to(shop.port()).get("/x").status, 200);
    collector.wait_for(|state| state.spans.len() >= 2, Duration::from_secs(20)).unwrap();
    // It is held until it is over, since there is no other export.
    let seen = watch.stop_when(|_| true);
    let kinds: Vec<&str> = seen.spans.iter().map(|span| span.kind).collect();
    assert_eq!(kinds, ["SERVER"], "{}", seen.summary());
}

/// The auto SDK is in each program of Go that has OpenTelemetry's API: as long as nobody outside takes its spans, nothing of such a service is described.
fn what_nobody_reads_of_gos_auto_sdk_is_told(backend: Backend) {
    let binary = need::built_by_go("sdk-auto", "shop", "local", &[], &[]);
    let info = Command::new(need::program("go")).args(["version", "-m"]).arg(&binary).output().unwrap();
    assert!(String::from_utf8_lossy(&info.stdout).contains("go.opentelemetry.io/auto/sdk"), "{info:?}");
    let start = |next: Option<u16>| Program::start(Command::new(&binary).args(next.map(|port| port.to_string())));
    let store = start(None);
    let shop = start(Some(store.port()));
    let watch = watch(backend, &[&shop, &store], |setup| setup.args(["--log-level", "debug"]));
    watch.agent.until_logged("tasks are told apart");
    assert_eq!(Connection::to(shop.port()).get("/x").status, 200);
    // Nothing is held until an SDK has exported: that would take longer than it is waited for here.
    let seen = watch.stop_when(|state| state.spans.len() >= 3);
    let spans: Vec<_> = seen.spans.iter().map(|span| ("agent", span)).collect();
    let [server, client] = ["SERVER", "CLIENT"].map(|kind| ("agent", "shop", kind));
    // Both are of one program.
    let expected =
        BTreeMap::from([(server, BTreeSet::from([None, Some(client)])), (client, BTreeSet::from([Some(server)]))]);
    assert_eq!((tree(&spans), seen.spans.len()), (expected, 3), "{}", seen.summary());
}

fn what_is_to_be_ignored_or_excluded_is(backend: Backend) {
    for (sdk, expected) in [("ignore", 2), ("exclude", 0)] {
        let collector = Receiver::start();
        let store = plain(None);
        let shop = instrumented("shop", "shop.py", Some(store.port()), &collector);
        let watch = watch(backend, &[&shop, &store], |setup| setup.env("OTEL_EBPF_DISCOVERY_SDK", sdk));
        assert_eq!(Connection::to(shop.port()).get("/x").status, 200);
        collector.wait_for(|state| state.spans.len() >= 3, Duration::from_secs(20)).unwrap();
        let seen = watch.stop_when(|state| state.spans.iter().filter(|span| span.kind == "SERVER").count() >= 2);
        let of_shop = seen.spans.iter().filter(|span| {
            span.service() == "shop"
                && span
                    .attributes
                    .get("url.full")
                    .and_then(Value::as_str)
                    .is_none_or(|url| !url.ends_with("/v1/traces"))
        });
        assert_eq!(of_shop.filter(|span| span.kind == "CLIENT").count(), expected, "{sdk}");
    }
}

#[test]
fn who_else_instruments_a_process_is_named() {
    let collector = Receiver::start();
    let shop = instrumented("shop", "shop.py", None, &collector);
    let port = shop.port();
    let output = agent::command(["survey", "--json", "--port", &port.to_string()]).output().unwrap();
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[0]["instrumented_by"], json!(["opentelemetry"]), "{rows:#}");
    // What is part of the program itself.
    for start in [go, rust] {
        let shop = start("shop", None, &collector);
        let output = agent::command(["survey", "--json", "--port", &shop.port().to_string()]).output().unwrap();
        let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(rows[0]["instrumented_by"], json!(["opentelemetry"]), "{rows:#}");
    }
}

/// The SDK says which span is active on each thread: a program that has the variable for that itself, and one that has it in a library, which is found in either of the ways that
/// linkers know.
fn what_is_called_while_a_span_of_the_sdk_is_active_is_below_it(backend: Backend) {
    const CALLS: usize = 4 * 20 * 3;
    let files = folder();
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    let library = |dialect: &str| -> Vec<String> {
        let out = files.path().join(format!("lib{dialect}.so")).display().to_string();
        let flags = ["-DLIBRARY", "-shared", "-fPIC", &format!("-mtls-dialect={dialect}"), "-o", &out];
        let made = Command::new(need::program("cc")).args(flags).arg(need::source("context.c")).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        vec!["-DUSES_LIBRARY".into(), out, format!("-Wl,-rpath,{}", files.path().display())]
    };
    for flags in [vec!["-rdynamic".to_owned()], library("gnu"), library("gnu2")] {
        let flags: Vec<&str> = flags.iter().map(String::as_str).chain(["-pthread"]).collect();
        let binary = need::compiled("context.c", &flags, files.path());
        let mut client = Program::start(Command::new(binary).arg(port.to_string()));
        let _started = client.says("ready");
        let receiver = Receiver::start();
        let agent = Setup::pids(&[client.pid()]).args(["--log-level", "debug"]).backend(backend).to(&receiver).start();
        agent.until_logged("tasks are told apart");
        client.tell("go");
        let _finished = client.says("done");
        let seen = Watch { agent, receiver }.finish(CALLS);
        for span in &seen.spans {
            let words: Vec<&str> = path(span).unwrap().split('/').collect();
            let ids = (span.trace_id.as_str(), span.parent_span_id.as_str());
            match words[..] {
                ["", "active", trace, parent, _] => {
                    assert_eq!(ids, (&*trace.repeat(16), &*parent.repeat(8)), "{span:?}");
                    assert_eq!(span.attributes["beyla.parent.evidence"], "sdk");
                }
                _ => assert_eq!(ids.1, "", "{span:?}"),
            }
        }
    }
}
