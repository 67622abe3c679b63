//! `beyla-rs trace`: traces that are asked for, as waterfalls; those that are remembered, or those that come.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{
    client::{Client, NoAnswer, path},
    say, waterfall,
};
use crate::{
    api::answers::{Trace, Traces},
    cli::{Exit, Trace as What},
    telemetry::clock::unix_ns,
    terminal::{self, Paint},
};

/// How often it is looked for more.
const LOOK: Duration = Duration::from_millis(500);
/// Traces of one look.
const AT_ONCE: u16 = 100;
/// Traces that are known to have been shown.
const KNOWN_MAX: usize = 10_000;
/// A trace is shown once so many looks found it as it was before.
const SETTLED: u32 = 2;

pub(super) async fn trace(what: &What, client: &Client, is_own: bool) -> Result<Exit, NoAnswer> {
    if let Some(id) = &what.id {
        let trace: Trace = client.get(&path(&format!("/api/v1/traces/{}", escaped(id)), &[])).await?;
        show(&trace, what);
        return Ok(Exit::Ok);
    }
    if is_own {
        return follow(what, client, unix_ns(), HashMap::new()).await;
    }
    let now = unix_ns();
    let found: Traces = client.get(&asked(what, what.limit, None)).await?;
    if let Some(at) = found.searched_since_unix_ms.and_then(|ms| jiff::Timestamp::from_millisecond(ms as i64).ok()) {
        tracing::warn!(
            "looking further back takes too long: of what began before {at:.0} not all was looked at (ask for less, as by --service or --errors)"
        );
    }
    let mut shown = HashMap::new();
    // The latest last: that is where one looks.
    for found in found.traces.iter().rev() {
        let trace: Trace = client.get(&format!("/api/v1/traces/{}", found.trace_id)).await?;
        shown.insert(found.trace_id.clone(), Known::Shown);
        if !show(&trace, what) {
            return Ok(Exit::Ok);
        }
    }
    if what.follow {
        return follow(what, client, now, shown).await;
    }
    if shown.is_empty() {
        tracing::warn!("no such trace is remembered by the agent at {}; --follow waits for the next", client.url());
        return Ok(Exit::NothingSeen);
    }
    Ok(Exit::Ok)
}

/// What is known of a trace that was found.
#[derive(Clone, Copy)]
enum Known {
    /// It has so many spans, as it had so many looks before.
    Grows {
        spans: u32,
        looks: u32,
    },
    Shown,
}

async fn follow(
    what: &What,
    client: &Client,
    since_unix_ns: u64,
    mut known: HashMap<String, Known>,
) -> Result<Exit, NoAnswer> {
    let mut order: VecDeque<String> = known.keys().cloned().collect();
    let mut is_first = known.is_empty();
    loop {
        tokio::time::sleep(LOOK).await;
        let found: Traces = client.get(&asked(what, AT_ONCE, Some(since_unix_ns))).await?;
        if found.has_more && is_first {
            tracing::warn!("more traces come than are shown: ask for fewer (--slow, --errors, --service)");
            is_first = false;
        }
        for found in found.traces.iter().rev() {
            let id = &found.trace_id;
            let now = match known.get(id) {
                Some(Known::Shown) => continue,
                Some(&Known::Grows { spans, looks }) if spans == found.spans => {
                    Known::Grows { spans, looks: looks + 1 }
                }
                _ => Known::Grows { spans: found.spans, looks: 0 },
            };
            if !known.contains_key(id) {
                order.push_back(id.clone());
            }
            known.insert(id.clone(), now);
            if matches!(now, Known::Grows { looks: SETTLED.., .. }) {
                known.insert(id.clone(), Known::Shown);
                let trace: Trace = match client.get(&format!("/api/v1/traces/{id}")).await {
                    Ok(trace) => trace,
                    // It went meanwhile.
                    Err(NoAnswer::Refused { .. }) => continue,
                    Err(error) => return Err(error),
                };
                if !show(&trace, what) {
                    return Ok(Exit::Ok);
                }
            }
        }
        while order.len() > KNOWN_MAX {
            if let Some(oldest) = order.pop_front() {
                known.remove(&oldest);
            }
        }
    }
}

fn asked(what: &What, limit: u16, since_unix_ns: Option<u64>) -> String {
    let mut parameters = vec![
        ("service", what.service.clone()),
        ("name", what.name.clone()),
        ("min_duration", what.slow.map(|least| format!("{}us", least.as_micros()))),
        ("status", what.errors.then(|| "error".to_owned())),
        ("limit", Some(limit.to_string())),
        ("since", since_unix_ns.map(|ns| format!("{}", ns as f64 / 1e9))),
    ];
    parameters.extend(what.attribute.iter().map(|pair| ("attribute", Some(pair.clone()))));
    path("/api/v1/traces", &parameters)
}

fn escaped(id: &str) -> String {
    form_urlencoded::byte_serialize(id.as_bytes()).collect()
}

/// Whether somebody reads it.
fn show(trace: &Trace, what: &What) -> bool {
    let text = waterfall::text(trace, terminal::columns(), Paint::for_stdout(), what.details);
    say(&format!("{text}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_what_the_api_takes() {
        let what = What {
            slow: Some(Duration::from_millis(200)),
            errors: true,
            attribute: vec!["a=b c".to_owned()],
            ..What::default()
        };
        assert_eq!(
            asked(&what, 5, Some(1_500_000_000)),
            "/api/v1/traces?min_duration=200000us&status=error&limit=5&since=1.5&attribute=a%3Db+c"
        );
    }
}
