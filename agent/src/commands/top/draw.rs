//! The screen as lines of text: a head, a table or a waterfall, and the keys.

use super::{
    super::waterfall,
    view::{Data, Sort, State, View},
};
use crate::{
    api::answers::{Rates, ServiceDetail, Services, SpanSummary, Trace},
    terminal::{Colour, Paint, cut, duration, fit, harmless, short_ms, width},
};

/// Columns of the figures: rate, share of errors, two durations.
const FIGURES: usize = 10 + 8 + 9 + 9;
/// Most columns of a sparkline.
const SPARKS_MAX: usize = 30;

/// The lines of a screen of this size. None is wider.
pub(super) fn lines(state: &State, columns: usize, rows: usize, paint: Paint) -> Vec<String> {
    let room = rows.saturating_sub(3).max(1);
    let (title, mut body) = match &state.data {
        None => (String::new(), vec!["asking …".to_owned()]),
        Some(Data::Services(answer)) => services(state, answer, columns, room, paint),
        Some(Data::Service(detail)) => service(state, detail, columns, room, paint),
        Some(Data::Requests(spans)) => requests(state, spans, columns, room, paint),
        Some(Data::Trace(trace)) => one_trace(state, trace, columns, room, paint),
    };
    body.truncate(room);
    body.iter_mut().for_each(|line| *line = clipped(line, columns));
    let mut all = Vec::with_capacity(rows);
    let mut head = String::new();
    paint.add(Colour::Bold, &cut(&format!("beyla-rs top  {title}"), columns), &mut head);
    all.push(head);
    let mut status = String::new();
    match &state.problem {
        Some(problem) => {
            paint.add(Colour::Red, &cut(&format!("{}; trying again", harmless(problem)), columns), &mut status)
        }
        None => {
            let paused = if state.is_paused { "held (space goes on); " } else { "" };
            paint.add(Colour::Faint, &cut(&format!("{paused}{}", state.url), columns), &mut status);
        }
    }
    all.push(status);
    all.append(&mut body);
    all.resize(rows.saturating_sub(1), String::new());
    let mut keys = String::new();
    paint.add(Colour::Cyan, &cut(keys_of(state.view()), columns), &mut keys);
    all.push(keys);
    all.truncate(rows);
    all
}

/// A line as far as it fits: colours take no room, and end with it.
fn clipped(line: &str, columns: usize) -> String {
    let mut out = String::with_capacity(line.len());
    let (mut taken, mut in_colour, mut has_colour) = (0, false, false);
    for c in line.chars() {
        if in_colour || c == '\x1b' {
            has_colour = true;
            in_colour = c != 'm';
            out.push(c);
            continue;
        }
        taken += width(c.encode_utf8(&mut [0; 4]));
        if taken > columns {
            out.push_str(if has_colour { "\x1b[0m" } else { "" });
            return out;
        }
        out.push(c);
    }
    out
}

const fn keys_of(view: &View) -> &'static str {
    match view {
        View::Services => "up/down choose  enter routes  l live  sort: r rate e errors p p99 n name  q quit",
        View::Service { .. } => "up/down choose  enter its requests  l live  esc back  space hold  q quit",
        View::Requests { .. } => "up/down choose  enter trace  f failed  s slowest  space hold  esc back  q quit",
        View::Trace { .. } => "up/down scroll  esc back  q quit",
    }
}

/// The rows that are shown, so that the chosen one is among them.
fn shown(chosen: usize, count: usize, room: usize) -> std::ops::Range<usize> {
    let from = (chosen + 1).saturating_sub(room).min(count.saturating_sub(room));
    from..(from + room).min(count)
}

fn mark(is_chosen: bool) -> &'static str {
    if is_chosen { "> " } else { "  " }
}

fn sparkline(values: &[f64], columns: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().fold(0.0, f64::max);
    let from = values.len().saturating_sub(columns);
    let bar = |value: &f64| {
        let step = if most > 0.0 { (value / most * 7.0).round() as usize } else { 0 };
        if *value > 0.0 { BARS.get(step).copied().unwrap_or('█') } else { ' ' }
    };
    values.get(from..).unwrap_or_default().iter().map(bar).collect()
}

fn figures(rates: &Rates, paint: Paint, out: &mut String) {
    out.push_str(&format!("{:>8}/s ", number(rates.rate)));
    let share = format!("{:>6.2}% ", rates.error_share * 100.0);
    if rates.errors > 0 {
        paint.add(Colour::Red, &share, out)
    } else {
        out.push_str(&share)
    }
    for quantile in [rates.p50_ms, rates.p99_ms] {
        out.push_str(&format!("{:>8} ", quantile.map_or_else(|| "-".to_owned(), short_ms)));
    }
}

fn number(rate: f64) -> String {
    if rate < 99.95 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

/// A table of names with their figures: its head, and a line for each.
fn table<'a>(
    of: &str,
    all: impl ExactSizeIterator<Item = (String, &'a Rates, &'a [f64])>,
    (columns, room, chosen): (usize, usize, usize),
    paint: Paint,
) -> Vec<String> {
    let sparks = columns.saturating_sub(2 + 24 + FIGURES + 4).min(SPARKS_MAX);
    let names = columns.saturating_sub(2 + FIGURES + 4 + sparks + 1).max(8);
    let mut head = String::new();
    let text = format!(
        "  {} {:>10} {:>7} {:>8} {:>8} {}",
        fit(of, names),
        "RATE",
        "ERRORS",
        "P50",
        "P99",
        if sparks > 12 { "LAST 5 MIN" } else { "" }
    );
    paint.add(Colour::Faint, &cut(text.trim_end(), columns), &mut head);
    let count = all.len();
    let range = shown(chosen, count, room.saturating_sub(1));
    let line = |(index, (name, rates, spark)): (usize, (String, &Rates, &[f64]))| {
        let mut line = mark(index == chosen).to_owned();
        let name = fit(&harmless(&name), names);
        if index == chosen {
            paint.add(Colour::Bold, &name, &mut line)
        } else {
            line.push_str(&name)
        }
        line.push(' ');
        figures(rates, paint, &mut line);
        paint.add(Colour::Cyan, &sparkline(spark, sparks), &mut line);
        line
    };
    let rows = all.enumerate().skip(range.start).take(range.len()).map(line);
    std::iter::once(head).chain(rows).collect()
}

fn services(state: &State, answer: &Services, columns: usize, room: usize, paint: Paint) -> (String, Vec<String>) {
    let sorted = match state.sort {
        Sort::Rate => "rate",
        Sort::Errors => "errors",
        Sort::P99 => "p99",
        Sort::Name => "name",
    };
    let requests: f64 = answer.services.iter().map(|it| it.served.rate).sum();
    let title = format!(
        "{} services by {sorted}, {}/s, last {:.0} s",
        answer.services.len(),
        number(requests),
        answer.window_s
    );
    if answer.services.is_empty() {
        let text = [
            "Nothing was seen yet.",
            "Send a request to a service on this host; `beyla-rs survey` says what is watched.",
        ];
        return (title, text.map(str::to_owned).into());
    }
    let all = state.services();
    let named = all.iter().map(|it| {
        let name = if it.namespace.is_empty() { it.name.clone() } else { format!("{}/{}", it.namespace, it.name) };
        let rates = if it.served.requests > 0 { &it.served } else { &it.made };
        (name, rates, it.sparkline.as_slice())
    });
    (title, table("SERVICE", named, (columns, room, state.row()), paint))
}

fn service(state: &State, detail: &ServiceDetail, columns: usize, room: usize, paint: Paint) -> (String, Vec<String>) {
    let does = if detail.is_client { "what it asks" } else { "what it is asked" };
    let title = format!("{}: {does}, last {:.0} s", harmless(&detail.service.name), detail.window_s);
    let named = detail.routes.iter().map(|route| (route.name.clone(), &route.rates, route.sparkline.as_slice()));
    let peers = |peers: &[crate::api::answers::Peer]| {
        let names: Vec<&str> = peers.iter().map(|peer| peer.node.name.as_str()).collect();
        if names.is_empty() { "-".to_owned() } else { names.join(", ") }
    };
    let around = format!("  asked by {}; asks {}", peers(&detail.callers), peers(&detail.calls));
    let mut lines = vec![cut(&harmless(&around), columns).into_owned(), String::new()];
    lines.extend(table("ROUTE", named, (columns, room.saturating_sub(2), state.row()), paint));
    (title, lines)
}

fn requests(state: &State, spans: &[SpanSummary], columns: usize, room: usize, paint: Paint) -> (String, Vec<String>) {
    let View::Requests { service, name, is_failed, is_slowest, .. } = state.view() else {
        return (String::new(), Vec::new());
    };
    let of = match (service, name) {
        (Some((service, _)), Some(name)) => format!("{service} {name}"),
        (Some((service, _)), None) => service.clone(),
        _ => "all".to_owned(),
    };
    let failed = if *is_failed { "failed " } else { "" };
    let which = if *is_slowest { "slowest" } else { "latest" };
    let title = format!("{which} {failed}requests of {}", harmless(&of));
    if spans.is_empty() {
        return (title, vec!["None is remembered.".to_owned()]);
    }
    let services = (columns / 5).clamp(10, 30);
    let names = columns.saturating_sub(2 + 11 + 7 + 7 + services + 1).max(8);
    let mut head = String::new();
    let text =
        format!("  {:>10} {} {} {} REQUEST", "DURATION", fit("STATUS", 6), fit("KIND", 6), fit("SERVICE", services));
    paint.add(Colour::Faint, &cut(&text, columns), &mut head);
    let range = shown(state.row(), spans.len(), room.saturating_sub(1));
    let line = |(index, span): (usize, &SpanSummary)| {
        let mut line = mark(index == state.row()).to_owned();
        line.push_str(&duration((span.duration_ms * 1e6) as u64));
        line.push(' ');
        let status = harmless(span.status.as_deref().unwrap_or("-")).into_owned();
        paint.add(Colour::of_status(&status, span.is_error), &fit(&status, 6), &mut line);
        let path = span.path.as_deref().map_or_else(String::new, |path| format!(" {path}"));
        let name = format!("{}{path}", span.name);
        line.push_str(&format!(" {} {} ", fit(&span.kind, 6), fit(&harmless(&span.service), services)));
        line.push_str(&cut(&harmless(&name), names));
        line
    };
    let rows = spans.iter().enumerate().skip(range.start).take(range.len()).map(line);
    (title, std::iter::once(head).chain(rows).collect())
}

fn one_trace(state: &State, trace: &Trace, columns: usize, room: usize, paint: Paint) -> (String, Vec<String>) {
    let plain = waterfall::text(trace, columns, Paint { has_colour: false }, false);
    // It stays when the rest is scrolled.
    let title = plain.lines().next().unwrap_or_default().to_owned();
    let text = waterfall::text(trace, columns, paint, false);
    let lines: Vec<String> = text.lines().skip(1).map(str::to_owned).collect();
    let from = state.row().min(lines.len().saturating_sub(room));
    (title, lines.into_iter().skip(from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::answers::{NodeKind, NodeName, OverTime, Peer, Route, Service},
        commands::top::{tty::Key, view::Next},
    };

    fn rates(rate: f64, errors: u64) -> Rates {
        Rates {
            requests: 100,
            errors,
            rate,
            error_share: errors as f64 / 100.0,
            p50_ms: Some(rate),
            p95_ms: None,
            p99_ms: Some(1000.0 / rate),
        }
    }

    fn a_service(name: &str, rate: f64, errors: u64) -> Service {
        Service {
            name: name.to_owned(),
            namespace: String::new(),
            language: None,
            served: rates(rate, errors),
            made: Rates::default(),
            sparkline: (0..30).map(f64::from).collect(),
        }
    }

    fn state() -> State {
        let mut state = State::new("http://127.0.0.1:9464");
        let services = vec![
            a_service("slow", 1.0, 0),
            a_service("busy-\x1b[31m-with-a-name-that-is-far-too-long-for-its-column-end", 50.0, 0),
            a_service("bad", 10.0, 7),
        ];
        state.take(Ok(Data::Services(Services { window_s: 60.0, services })));
        state
    }

    fn press(state: &mut State, key: Key) -> Next {
        state.press(key)
    }

    fn drawn(state: &State, columns: usize, rows: usize) -> Vec<String> {
        let lines = lines(state, columns, rows, Paint { has_colour: false });
        assert_eq!(lines.len(), rows);
        assert!(lines.iter().all(|line| width(line) <= columns), "{lines:#?}");
        assert!(!lines.concat().contains('\x1b'));
        lines
    }

    #[test]
    fn services_are_sorted_as_the_keys_say_and_fit_any_size() {
        let mut state = state();
        let order = |state: &State| -> Vec<String> {
            let rows = drawn(state, 80, 24);
            rows[3..6].iter().map(|row| row[2..].chars().take(4).collect()).collect()
        };
        assert_eq!(order(&state), ["busy", "bad ", "slow"]);
        for (key, sorted) in
            [('e', ["bad ", "busy", "slow"]), ('p', ["slow", "bad ", "busy"]), ('n', ["bad ", "busy", "slow"])]
        {
            press(&mut state, Key::Char(key));
            assert_eq!(order(&state), sorted, "{key}");
        }
        let lines = drawn(&state, 80, 24);
        assert!(lines[0].contains("3 services by name, 61.0/s"), "{}", lines[0]);
        assert!(
            lines[3].contains("10.0/s") && lines[3].contains("7.00%") && lines[3].contains("100ms"),
            "{}",
            lines[3]
        );
        assert!(lines[4].contains('…') && lines[3].contains('█'), "{lines:#?}");
        assert!(lines[23].contains("q quit"));
        for (columns, rows) in [(20, 4), (40, 10), (200, 60), (1, 1)] {
            drawn(&state, columns, rows);
        }
    }

    #[test]
    fn what_does_not_fit_is_clipped_and_its_colour_with_it() {
        assert_eq!(clipped("\x1b[31mred\x1b[0m and more", 5), "\x1b[31mred\x1b[0m a\x1b[0m");
        assert_eq!(clipped("\x1b[31mred\x1b[0m", 3), "\x1b[31mred\x1b[0m");
        assert_eq!(clipped("日本", 3), "日");
    }

    #[test]
    fn enter_leads_to_routes_to_requests_to_a_trace_and_escape_back() {
        let mut state = state();
        press(&mut state, Key::Char('e'));
        assert_eq!(press(&mut state, Key::Enter), Next::Ask);
        assert_eq!(*state.view(), View::Service { name: "bad".to_owned(), namespace: String::new() });
        let route = |name: &str| Route { name: name.to_owned(), rates: rates(5.0, 1), sparkline: vec![1.0, 2.0] };
        let over_time = OverTime {
            start_unix_s: 0,
            step_s: 10,
            rate: vec![],
            errors: vec![],
            p50_ms: vec![],
            p95_ms: vec![],
            p99_ms: vec![],
        };
        let node = NodeName {
            id: "users".to_owned(),
            kind: NodeKind::Users,
            name: "users".to_owned(),
            namespace: String::new(),
        };
        state.take(Ok(Data::Service(Box::new(ServiceDetail {
            service: a_service("bad", 10.0, 7),
            window_s: 60.0,
            is_client: false,
            over_time,
            routes: (0..50).map(|number| route(&format!("GET /{number}"))).collect(),
            callers: vec![Peer { node, rates: rates(1.0, 0) }],
            calls: vec![],
            instances: vec![],
            slowest: vec![],
            failing: vec![],
        }))));
        assert!(drawn(&state, 80, 24)[2].contains("asked by users; asks -"));
        press(&mut state, Key::End);
        assert!(drawn(&state, 80, 24).iter().any(|line| line.starts_with("> GET /49 ")), "what is chosen is shown");
        press(&mut state, Key::Enter);
        let View::Requests { name, kind, .. } = state.view() else { panic!() };
        assert_eq!((name.as_deref(), *kind), (Some("GET /49"), Some("server")));
        let span = waterfall::tests::span("a", None, "back", "SERVER", 0.0, 12.5);
        state.take(Ok(Data::Requests(vec![span.summary.clone()])));
        let lines = drawn(&state, 80, 24);
        assert!(lines[3].starts_with(">   12.500ms 500    SERVER back"), "{}", lines[3]);
        assert_eq!(press(&mut state, Key::Char('f')), Next::Ask);
        press(&mut state, Key::Enter);
        assert!(matches!(state.view(), View::Trace { id } if *id == span.summary.trace_id));
        state.take(Ok(Data::Trace(Box::new(Trace {
            trace_id: span.summary.trace_id.clone(),
            start_unix_ms: 0.0,
            duration_ms: 12.5,
            missing: None,
            spans: vec![span],
        }))));
        assert!(drawn(&state, 80, 24).iter().any(|line| line.contains("back GET /slow") && line.contains('█')));
        for _ in 0..3 {
            press(&mut state, Key::Escape);
        }
        assert_eq!(*state.view(), View::Services);
        assert_eq!(press(&mut state, Key::Escape), Next::Stay);
        assert_eq!(press(&mut state, Key::Char('q')), Next::Quit);
    }
}
