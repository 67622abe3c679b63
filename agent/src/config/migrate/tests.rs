use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/fixtures").join(name)
}

fn migrated(text: &str, environment: &[(&str, &str)]) -> String {
    rewritten("a.yaml", text, &Environment::from_pairs(environment.iter().copied())).unwrap()
}

/// The lines without the comments above them.
fn body(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#')).collect()
}

#[test]
fn every_fixture_means_the_same_once_it_is_migrated_and_stays_as_it_is_then() {
    for entry in std::fs::read_dir(fixture(".")).unwrap() {
        let path = entry.unwrap().path();
        let shown = path.display().to_string();
        // As the file wants it.
        let collector = if shown.ends_with("obi_2_0.yaml") { "collector:4317" } else { "http://collector:4317" };
        let environment = Environment::from_pairs([("COLLECTOR", collector)]);
        let text = file_text(&path).unwrap();
        let once = rewritten(&shown, &text, &environment).unwrap_or_else(|error| panic!("{shown}: {error}"));
        let meant = effective(&shown, &text, &environment).unwrap();
        assert_eq!(effective("once", &once, &environment).unwrap(), meant, "{shown}\n{once}");
        let twice = rewritten(&shown, &once, &environment).unwrap();
        assert_eq!(body(&twice), body(&once), "{shown}");
        assert!(!twice.contains("Not taken over"), "{twice}");
    }
}

#[test]
fn older_keys_are_written_as_ours_and_what_is_left_stands_at_the_top() {
    let text = "executable_name: ^/srv/\ntrace_printer: json_indent\nnetwork: {enable: true}\nchannel_send_timeout_panic: true\n\
                discovery:\n  services:\n    - {open_ports: 80, exe_path_regexp: 'a|b'}\n";
    assert_eq!(
        migrated(text, &[]),
        "# Made of a.yaml by `beyla-rs config migrate`.\n\
         # Not taken over:\n\
         #   a.yaml:3:11: network.enable: is an option of OBI that is not supported yet; it is ignored\n\
         #   a.yaml:4:1: channel_send_timeout_panic: is an option of OBI that does nothing here: no stage waits for another\n\
         discovery:\n  instrument:\n    - open_ports: 80\n      exe_path: \"re:a|b\"\n\
         print: json\n\
         auto_target_exe: \"re:^/srv/\"\n"
    );
}

#[test]
fn variables_stay_where_they_mean_the_same_and_are_replaced_where_they_do_not() {
    let text = "open_port: ${PORT:-8080}\notlp: {endpoint: '${HOST}', headers: {authorization: \"${KEY}$$\"}}\n";
    let environment = [("HOST", "http://c:4317"), ("KEY", "secret")];
    let kept = migrated(text, &environment);
    assert_eq!(
        body(&kept),
        [
            "open_port: ${PORT:-8080}",
            "otlp:",
            "  endpoint: \"${HOST}\"",
            "  headers:",
            "    authorization: \"${KEY}$$\""
        ]
    );
    // What the value is decides what it is read as.
    let printer = migrated("trace_printer: ${PRINTER}\nservice_name: 'a$$b'\n", &[("PRINTER", "text")]);
    assert_eq!(body(&printer), ["service_name: \"a$$b\"", "print: text"]);
    assert!(printer.contains("are replaced by the values"), "{printer}");
}

#[test]
fn a_file_of_configuration_2_0_is_one_of_ours_afterwards() {
    let text = "file_format: '1.0'\nextensions:\n  obi:\n    capture:\n      engine: {batching: {wakeup_len: 3}, debug: {bpf: true}}\n      \
                instrumentation: {redis: {enabled: {traces: false}}, http: {enabled: {body_size_metrics: false}, filters: {traces: \
                {http.request.method: {not_match: OPTIONS}}, metrics: {http.request.method: {not_match: OPTIONS}}}, routes: \
                {incoming: {patterns: [/a]}, outgoing: {patterns: [/a]}}}}\n";
    let once = migrated(text, &[]);
    assert!(!once.contains("extensions:"), "{once}");
    assert!(
        once.contains("extensions.obi.capture.engine.debug.bpf: is an option of OBI that does nothing here"),
        "{once}"
    );
    let config = effective("once", &once, &Environment::default()).unwrap();
    let all = serde_json::to_value(&config).unwrap();
    assert_eq!(all["metrics"]["features"], serde_json::json!(["application_red"]));
    assert_eq!(all["filter"]["application"]["http.request.method"]["not_match"], "OPTIONS");
    assert_eq!(all["routes"]["patterns"], serde_json::json!(["/a"]));
    let spans = all["otel_traces_export"]["instrumentations"].as_array().unwrap();
    assert!(spans.contains(&"http".into()) && !spans.contains(&"redis".into()), "{spans:?}");
    assert_eq!(all["otel_metrics_export"]["instrumentations"], serde_json::json!(["*"]));
}

#[test]
fn what_is_wrong_is_told_and_nothing_is_written() {
    let error = rewritten("a.yaml", "log_level: lound\n", &Environment::default()).unwrap_err().to_string();
    assert!(error.contains("a.yaml:1:12: log_level"), "{error}");
}
