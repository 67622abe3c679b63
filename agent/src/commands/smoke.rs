//! `beyla-rs smoke`: requests of a while held against limits, and a sentence that says how it went. Counted is what came between two
//! looks at the metrics, which count every request, whatever becomes of its span.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::{
    client::{Client, NoAnswer, path},
    say,
};
use crate::{
    api::answers::{Counted, Counts},
    cli::{Exit, Smoke},
    store::Red,
    telemetry::clock::unix_ns,
    terminal::{harmless, short_ms},
};

/// Metrics are at most so old.
const UNTIL_TOLD: Duration = Duration::from_millis(1200);

pub(super) async fn smoke(what: &Smoke, client: &Client) -> Result<Exit, NoAnswer> {
    // Of one time for both looks, so that what they have differs by what came between.
    let since = (unix_ns() / 1_000_000_000).to_string();
    let asked = path(
        "/api/v1/counts",
        &[("service", Some(what.service.clone())), ("namespace", what.namespace.clone()), ("since", Some(since))],
    );
    let before: Counts = client.get(&asked).await?;
    tracing::info!("counting requests of {} for {}", harmless(&what.service), Length(what.length));
    tokio::time::sleep(what.length + UNTIL_TOLD).await;
    let after: Counts = client.get(&asked).await?;
    let (exit, sentence) = judge(what, &before, &after);
    say(&format!("{sentence}\n"));
    Ok(exit)
}

/// What is counted apart: whether it is asked, and its name.
type Name = (bool, String);

fn by_name(counts: &Counts) -> BTreeMap<Name, Red> {
    let mut all: BTreeMap<Name, Red> = BTreeMap::new();
    for Counted { is_client, name, target, requests, errors, sum_s, buckets, .. } in &counts.counted {
        let name = if *is_client { format!("{name} {target}") } else { name.clone() };
        all.entry((*is_client, name)).or_default().add(&Red::of_counts(*requests, *errors, *sum_s, buckets));
    }
    all
}

/// The exit status, and the sentence.
fn judge(what: &Smoke, before: &Counts, after: &Counts) -> (Exit, String) {
    let service = harmless(&what.service).into_owned();
    let nothing = |why: String| (Exit::NothingSeen, format!("unknown: {why}"));
    let (before, after) = (by_name(before), by_name(after));
    let mut rows: BTreeMap<&Name, Red> = BTreeMap::new();
    for (name, now) in &after {
        let then = before.get(name);
        if then.is_some_and(|then| then.count > now.count) {
            return nothing(format!("the agent was started anew while it watched {service}"));
        }
        let more = then.map_or_else(|| now.clone(), |then| now.without(then));
        if more.count > 0 {
            rows.insert(name, more);
        }
    }
    // What it is asked; of a service that only asks, that.
    let is_client = !rows.keys().any(|(is_client, _)| !is_client);
    rows.retain(|(its, _), _| *its == is_client);
    let mut all = Red::default();
    rows.values().for_each(|red| all.add(red));
    let length = Length(what.length);
    if all.count < what.min_requests {
        let seen = if all.count == 0 { "no request".to_owned() } else { format!("only {} requests", all.count) };
        return nothing(format!("{seen} of {service} seen in {length}"));
    }
    let did = if is_client { "made" } else { "answered" };
    let (share, p99_ms) = (all.errors as f64 / all.count as f64, all.quantile(0.99).unwrap_or(0.0) * 1000.0);
    let mut wrong = Vec::new();
    let mut said = vec![match what.max_error_rate {
        Some(most) if share > most => {
            let worst = rows.iter().max_by_key(|(_, red)| red.errors);
            let worst = worst.map_or_else(String::new, |((_, name), red)| {
                format!(", most of them {} ({} of {})", harmless(name), red.errors, red.count)
            });
            wrong.push(format!("{} failed (at most {}){worst}", Percent(share), Percent(most)));
            None
        }
        Some(most) => Some(format!("{} failed (at most {})", Percent(share), Percent(most))),
        None => Some(format!("{} failed", Percent(share))),
    }];
    said.push(match what.max_p99 {
        Some(most) if p99_ms > most.as_secs_f64() * 1000.0 => {
            let slowest = rows.iter().max_by(|a, b| {
                let of = |red: &Red| red.quantile(0.99).unwrap_or(0.0);
                of(a.1).total_cmp(&of(b.1))
            });
            let slowest = slowest.map_or_else(String::new, |((_, name), red)| {
                let p99 = red.quantile(0.99).unwrap_or(0.0) * 1000.0;
                format!(", slowest {} ({})", harmless(name), short_ms(p99))
            });
            let most = short_ms(most.as_secs_f64() * 1000.0);
            wrong.push(format!("p99 {} (at most {most}){slowest}", short_ms(p99_ms)));
            None
        }
        Some(most) => Some(format!("p99 {} (at most {})", short_ms(p99_ms), short_ms(most.as_secs_f64() * 1000.0))),
        None => Some(format!("p99 {}", short_ms(p99_ms))),
    });
    let requests = format!("{service} {did} {} requests in {length}", all.count);
    let said = said.into_iter().flatten().collect::<Vec<_>>().join(", ");
    if wrong.is_empty() {
        return (Exit::Ok, format!("ok: {requests}, {said}"));
    }
    let said = if said.is_empty() { said } else { format!("; {said}") };
    (Exit::Failed, format!("failed: {requests}, {}{said}", wrong.join(", ")))
}

struct Percent(f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Two digits, and none that say nothing.
        let rounded = (self.0 * 10_000.0).round() / 100.0;
        if rounded == 0.0 && self.0 > 0.0 { write!(f, "<0.01%") } else { write!(f, "{rounded}%") }
    }
}

struct Length(Duration);

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", (self.0.as_secs_f64() * 10.0).round() / 10.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(max_error_rate: Option<f64>, max_p99_ms: Option<u64>) -> Smoke {
        Smoke {
            service: "shop".to_owned(),
            namespace: None,
            length: Duration::from_secs(60),
            max_error_rate,
            max_p99: max_p99_ms.map(Duration::from_millis),
            min_requests: 1,
        }
    }

    fn counted(is_client: bool, name: &str, requests: u64, errors: u64) -> Counted {
        Counted {
            service: "shop".to_owned(),
            namespace: String::new(),
            is_client,
            name: name.to_owned(),
            target: String::new(),
            requests,
            errors,
            sum_s: 0.0,
            // 88 ms to 105 ms.
            buckets: vec![(106, u32::try_from(requests).unwrap())],
        }
    }

    fn counts(counted: Vec<Counted>) -> Counts {
        Counts { since_unix_s: 0, counted }
    }

    #[test]
    fn only_what_came_between_is_held_against_the_limits() {
        let before = counts(vec![counted(false, "GET /a", 100, 100)]);
        let after = counts(vec![counted(false, "GET /a", 200, 101), counted(true, "GET", 50, 50)]);
        let (exit, sentence) = judge(&what(Some(0.01), Some(300)), &before, &after);
        assert_eq!(exit, Exit::Ok);
        assert_eq!(sentence, "ok: shop answered 100 requests in 60s, 1% failed (at most 1%), p99 96ms (at most 300ms)");
    }

    #[test]
    fn the_sentence_says_what_is_beyond_its_limit_and_where() {
        let after = counts(vec![counted(false, "GET /a", 90, 0), counted(false, "GET /\x1bb", 10, 3)]);
        let (exit, sentence) = judge(&what(Some(0.01), Some(300)), &counts(Vec::new()), &after);
        assert_eq!(exit, Exit::Failed);
        assert_eq!(
            sentence,
            "failed: shop answered 100 requests in 60s, 3% failed (at most 1%), most of them GET /\\u{1b}b (3 of 10); p99 96ms (at most 300ms)"
        );
        let (exit, sentence) = judge(&what(None, Some(50)), &counts(Vec::new()), &after);
        assert_eq!(exit, Exit::Failed);
        assert!(sentence.contains("p99 96ms (at most 50ms), slowest GET /"), "{sentence}");
    }

    #[test]
    fn where_nothing_is_seen_nothing_is_said_to_work() {
        let none = counts(Vec::new());
        let (exit, sentence) = judge(&what(Some(0.01), None), &none, &none);
        assert_eq!((exit, &*sentence), (Exit::NothingSeen, "unknown: no request of shop seen in 60s"));
        let (one, two) = (counts(vec![counted(false, "GET /a", 1, 0)]), counts(vec![counted(false, "GET /a", 2, 0)]));
        let few = Smoke { min_requests: 2, ..what(Some(0.01), None) };
        assert_eq!(judge(&few, &one, &two).1, "unknown: only 1 requests of shop seen in 60s");
        assert_eq!(judge(&what(Some(0.01), None), &two, &one).0, Exit::NothingSeen, "started anew");
        let worker = counts(vec![counted(true, "GET", 4, 0)]);
        assert!(judge(&what(Some(0.01), None), &none, &worker).1.starts_with("ok: shop made 4 requests"));
    }
}
