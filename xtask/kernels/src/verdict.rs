//! What a guest saw, held against what was sent in it.

use serde_json::Value;

use super::release;
use super::scenario::{self, Scenario};
use super::transcript::{Run, Sent, Transcript};

/// `major.minor` of a kernel.
pub(super) type Release = (u32, u32);

/// From here on there are the tracepoints that backend `sock` hooks.
const SOCK: Release = (6, 3);
/// From here on there are links of kind `uprobe_multi`.
const UPROBE_MULTI: Release = (6, 6);
/// What a kernel writes when something is wrong with it.
const KERNEL_COMPLAINTS: [&str; 6] =
    ["WARNING:", "BUG:", "Oops", "leaking uprobe", "general protection fault", "unable to handle"];
/// Metrics of the agent that must stay at zero.
const LOSSES: [&str; 3] =
    ["beyla_rs_capture_lost_total", "beyla_rs_capture_lost_bytes_total", "beyla_rs_anomalies_total"];

/// All that is not as it should be.
pub(super) fn complaints(transcript: &Transcript) -> Vec<String> {
    let mut wrong = Vec::new();
    let Some(release) = release(&transcript.kernel) else {
        return vec![format!("`{}` is no release of a kernel", transcript.kernel)];
    };
    for (backend, is_due) in [("sock", release >= SOCK), ("syscall", true)] {
        let (works, found) = transcript.checked(&format!("backend {backend}")).unwrap_or((false, "nothing"));
        if works != is_due {
            let due = if is_due { "should work" } else { "should not work" };
            wrong.push(format!("backend {backend} {due}; `check` found: {found}"));
        }
        let runs = transcript.runs.iter().filter(|run| run.backend == backend).count();
        if runs != usize::from(works) {
            wrong.push(format!("backend {backend} was run {runs} times"));
        }
    }
    let means = if release >= UPROBE_MULTI { "uprobe_multi" } else { "perf events" };
    let (works, found) = transcript.checked("uprobes").unwrap_or((false, "nothing"));
    if !works || !found.contains(means) {
        wrong.push(format!("uprobes should work by {means}; `check` found: {found}"));
    }
    for run in &transcript.runs {
        wrong.extend(of_run(run).into_iter().map(|what| format!("{}: {what}", run.backend)));
    }
    let complains = |line: &&String| KERNEL_COMPLAINTS.iter().any(|words| line.contains(words));
    wrong.extend(transcript.kernel_log.iter().filter(complains).map(|line| format!("the kernel says: {line}")));
    wrong
}

/// What is wrong with a run.
fn of_run(run: &Run) -> Vec<String> {
    let mut wrong = Vec::new();
    if run.status != Some(0) {
        wrong.push(format!("the agent ended with {:?}", run.status));
    }
    for scenario in scenario::ALL {
        let Scenario { name, status, requests, .. } = *scenario;
        let sent = Sent { scenario: name.to_owned(), status, count: requests };
        if !run.sent.contains(&sent) {
            let answers: Vec<_> = run.sent.iter().filter(|sent| sent.scenario == name).collect();
            wrong
                .push(format!("{name}: the client should have had {requests} answers of {status}, it had {answers:?}"));
        }
        for kind in ["SERVER", "CLIENT"] {
            wrong.extend(of_scenario(run, scenario, kind));
        }
    }
    // Those of ours that belong to no scenario, or to one with too many.
    let (due, seen) = (2 * scenario::requests(), run.spans.iter().filter(|span| is_sent_by_us(span)).count());
    if seen > due {
        wrong.push(format!("{seen} spans for {due}"));
    }
    let lost = |name: &str| {
        LOSSES.iter().any(|loss| name.starts_with(loss))
            || (name.starts_with("beyla_rs_print_spans_total") && !name.contains("outcome=\"sent\""))
    };
    if !LOSSES.iter().all(|loss| run.metrics.iter().any(|(name, _)| name.starts_with(loss))) {
        wrong.push("the agent did not show its metrics".to_owned());
    }
    for (name, value) in run.metrics.iter().filter(|(name, value)| lost(name) && *value > 0.0) {
        wrong.push(format!("{} is {value}", without_instance(name)));
    }
    let is_warning =
        |line: &&String| line.split_whitespace().nth(1).is_some_and(|level| ["WARN", "ERROR"].contains(&level));
    wrong.extend(run.log.iter().filter(is_warning).map(|line| format!("the agent says: {line}")));
    // Not wrong by itself: what they would have been told need not have been of interest.
    if let Some(missed) = run.missed.filter(|missed| *missed > 0 && !wrong.is_empty()) {
        wrong.push(format!("the kernel left the agent's programs out {missed} times (`recursion_misses`)"));
    }
    wrong
}

/// What is wrong with the spans of one kind.
fn of_scenario(run: &Run, scenario: &Scenario, kind: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let spans: Vec<&Value> = run.spans.iter().filter(|span| belongs(span, scenario, kind)).collect();
    let what = format!("{} {} {}", kind.to_lowercase(), scenario.name, scenario.path);
    if spans.len() != scenario.requests {
        wrong.push(format!("{what}: {} spans for {} requests", spans.len(), scenario.requests));
    }
    let is_server = kind == "SERVER";
    let executable = scenario.executables[usize::from(is_server)];
    let mut check = |key: &str, due: Value, of: &dyn Fn(&Value) -> Value| {
        let others: Vec<Value> = spans.iter().map(|span| of(span)).filter(|value| *value != due).collect();
        if let Some(first) = others.first() {
            wrong.push(format!("{what}: {key} is {first}, not {due}, in {} of {} spans", others.len(), spans.len()));
        }
    };
    let mut attribute = |key: &str, due: Value| check(key, due, &|span| span["attributes"][key].clone());
    attribute("http.request.method", "GET".into());
    attribute("http.response.status_code", scenario.status.into());
    if let Some(bytes) = scenario.body {
        attribute("http.response.body.size", bytes.into());
    }
    if is_server {
        attribute("url.scheme", scenario.scheme.into());
        let version = if scenario.scheme == "https" { "1.3".into() } else { Value::Null };
        attribute("tls.protocol.version", version);
    } else {
        attribute("server.address", scenario.server.into());
    }
    check("process.executable.name", executable.into(), &|span| span["resource"]["process.executable.name"].clone());
    let name = match (kind, scenario.status) {
        ("SERVER", 200) => format!("GET {}", scenario.path),
        _ => "GET".to_owned(),
    };
    check("name", name.into(), &|span| span["name"].clone());
    wrong
}

/// A server's spans have `url.path`, a client's `url.full`.
fn belongs(span: &Value, scenario: &Scenario, kind: &str) -> bool {
    let attributes = &span["attributes"];
    let path = attributes["url.path"].as_str().or_else(|| {
        let (scheme, rest) = attributes["url.full"].as_str()?.split_once("://")?;
        let rest = rest.get(rest.find('/')?..)?;
        (scheme == scenario.scheme).then_some(rest.split('?').next()?)
    });
    span["kind"] == kind && attributes["server.port"] == scenario.port && path == Some(scenario.path)
}

/// It is not of the agent's own `/metrics`.
fn is_sent_by_us(span: &Value) -> bool {
    scenario::ALL.iter().any(|scenario| span["attributes"]["server.port"] == scenario.port)
}

/// How many spans there are of what was sent.
pub(super) fn seen(run: &Run, kind: &str) -> usize {
    run.spans.iter().filter(|span| span["kind"] == kind && is_sent_by_us(span)).count()
}

/// A metric without the labels that only name the agent.
fn without_instance(name: &str) -> String {
    let Some((name, labels)) = name.split_once('{') else { return name.to_owned() };
    let labels = labels.trim_end_matches('}').split(',');
    let kept: Vec<&str> =
        labels.filter(|label| !label.starts_with("job=") && !label.starts_with("instance=")).collect();
    if kept.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", kept.join(",")) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::transcript::tests::{CHECK, read};
    use super::*;

    const METRICS: &str = "beyla_rs_capture_lost_total{job=\"beyla-rs\",instance=\"i\",reason=\"ring_full\"} 0\n\
                           beyla_rs_capture_lost_bytes_total{job=\"beyla-rs\",instance=\"i\"} 0\n\
                           beyla_rs_anomalies_total{job=\"beyla-rs\",instance=\"i\",kind=\"resync\"} 0\n\
                           beyla_rs_print_spans_total{job=\"beyla-rs\",instance=\"i\",outcome=\"sent\"} 572\n";

    fn span(scenario: &Scenario, kind: &str) -> Value {
        let is_server = kind == "SERVER";
        let mut attributes = json!({
            "http.request.method": "GET",
            "http.response.status_code": scenario.status,
            "http.response.body.size": scenario.body.unwrap_or(124),
            "server.port": scenario.port,
            "server.address": if is_server { "127.0.0.1" } else { scenario.server },
        });
        if is_server {
            attributes["url.path"] = scenario.path.into();
            attributes["url.scheme"] = scenario.scheme.into();
            if scenario.scheme == "https" {
                attributes["tls.protocol.version"] = "1.3".into();
            }
        } else {
            attributes["url.full"] =
                format!("{}://127.0.0.1:{}{}?1", scenario.scheme, scenario.port, scenario.path).into();
        }
        let name = if is_server && scenario.status == 200 { format!("GET {}", scenario.path) } else { "GET".into() };
        let executable = scenario.executables[usize::from(is_server)];
        json!({"kind": kind, "name": name, "attributes": attributes, "resource": {"process.executable.name": executable}})
    }

    /// A guest in which all went well.
    fn good() -> Transcript {
        let mut transcript = read(&format!("@kernel 6.12.107+deb13-amd64\n{CHECK}@done\n")).unwrap();
        for backend in ["sock", "syscall"] {
            let mut run =
                read(&format!("@run {backend}\n{METRICS}@missed 0\n@ended 0\n@done\n")).unwrap().runs.remove(0);
            for scenario in scenario::ALL {
                let Scenario { name, status, requests, .. } = *scenario;
                run.sent.push(Sent { scenario: name.into(), status, count: requests });
                for kind in ["SERVER", "CLIENT"] {
                    run.spans.extend((0..requests).map(|_| span(scenario, kind)));
                }
            }
            transcript.runs.push(run);
        }
        transcript
    }

    fn only_complaint(change: impl FnOnce(&mut Transcript)) -> String {
        let mut transcript = good();
        change(&mut transcript);
        let mut wrong = complaints(&transcript);
        assert_eq!(wrong.len(), 1, "{wrong:#?}");
        wrong.remove(0)
    }

    #[test]
    fn a_guest_in_which_all_was_seen_passes() {
        let transcript = good();
        assert_eq!(complaints(&transcript), Vec::<String>::new());
        assert_eq!(seen(&transcript.runs[0], "SERVER"), scenario::requests());
    }

    #[test]
    fn a_missing_span_fails() {
        let wrong = only_complaint(|guest| drop(guest.runs[0].spans.remove(0)));
        assert_eq!(wrong, "sock: server http1 /hello.txt: 11 spans for 12 requests");
    }

    #[test]
    fn a_span_too_many_fails() {
        let mut transcript = good();
        let more = json!({"kind": "SERVER", "attributes": {"server.port": 8080, "url.path": "/invented"}});
        transcript.runs[1].spans.push(more);
        assert_eq!(complaints(&transcript), ["syscall: 573 spans for 572"]);
    }

    #[test]
    fn a_wrong_attribute_fails() {
        let change = |key: &'static str, value: Value| {
            only_complaint(move |guest| {
                let spans = &mut guest.runs[0].spans;
                let tls = spans.iter_mut().find(|span| span["attributes"]["url.scheme"] == "https").unwrap();
                tls["attributes"][key] = value;
            })
        };
        let wrong = change("http.response.status_code", 500.into());
        assert_eq!(wrong, "sock: server tls /hello.txt: http.response.status_code is 500, not 200, in 1 of 40 spans");
        assert!(change("tls.protocol.version", Value::Null).contains("is null, not \"1.3\""));
        assert!(change("url.scheme", "http".into()).contains("url.scheme"));
    }

    #[test]
    fn a_client_without_the_name_that_it_asked_for_fails() {
        let wrong = only_complaint(|guest| {
            let named = |span: &&mut Value| span["attributes"]["server.address"] == "shop.test";
            guest.runs[0].spans.iter_mut().find(named).unwrap()["attributes"]["server.address"] = "10.77.0.1".into();
        });
        assert_eq!(
            wrong,
            "sock: client dns /hello.txt: server.address is \"10.77.0.1\", not \"shop.test\", in 1 of 6 spans"
        );
    }

    #[test]
    fn what_the_agent_says_that_it_lost_fails() {
        let wrong = only_complaint(|guest| guest.runs[1].metrics[0].1 = 2.0);
        assert_eq!(wrong, "syscall: beyla_rs_capture_lost_total{reason=\"ring_full\"} is 2");
        assert_eq!(
            only_complaint(|guest| guest.runs[1].metrics.clear()),
            "syscall: the agent did not show its metrics"
        );
        assert!(only_complaint(|guest| guest.runs[1].log.push("12:00  WARN lost".into())).contains("WARN lost"));
        assert_eq!(only_complaint(|guest| guest.runs[1].status = Some(1)), "syscall: the agent ended with Some(1)");
    }

    #[test]
    fn that_programs_were_left_out_is_said_where_something_is_wrong() {
        let mut transcript = good();
        transcript.runs[1].missed = Some(3);
        assert_eq!(complaints(&transcript), Vec::<String>::new());
        transcript.runs[1].status = None;
        assert!(complaints(&transcript)[1].contains("left the agent's programs out 3 times"));
    }

    #[test]
    fn clients_that_were_not_answered_fail() {
        let wrong = only_complaint(|guest| guest.runs[0].sent[0].count = 11);
        assert!(wrong.starts_with("sock: http1: the client should have had 12 answers of 200"), "{wrong}");
    }

    #[test]
    fn a_warning_of_the_kernel_fails() {
        let wrong =
            only_complaint(|guest| guest.kernel_log.push("[ 9.1] ref_ctr_offset mismatch, leaking uprobe".into()));
        assert!(wrong.starts_with("the kernel says:"), "{wrong}");
    }

    #[test]
    fn what_a_kernel_should_be_able_to_do_follows_from_its_release() {
        assert_eq!(complaints(&Transcript { kernel: "6.6.1".into(), ..good() }), Vec::<String>::new());
        let older = complaints(&Transcript { kernel: "6.1.0-50-amd64".into(), ..good() });
        assert_eq!(older.len(), 2, "{older:#?}");
        let without = only_complaint(|guest| {
            guest.runs.remove(0);
            guest.check["items"][0] = json!({"name": "backend sock", "ok": false, "found": "the verifier refused it"});
        });
        assert_eq!(without, "backend sock should work; `check` found: the verifier refused it");
    }
}
