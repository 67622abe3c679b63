//! A trace as text: its spans below their parents, each with a bar from its start to its end.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::{
    api::answers::{SpanDetail, Trace},
    terminal::{Colour, Paint, cut, duration, fit, harmless, width},
};

/// Spans that are shown of one.
const SHOWN_MAX: usize = 500;
/// Levels that are shown by their distance.
const DEPTH_MAX: usize = 12;

/// A span in its place.
pub(super) struct Row<'a> {
    pub(super) span: &'a SpanDetail,
    pub(super) depth: usize,
}

/// Spans below their parents, by their start; those whose parent is not here come first.
pub(super) fn rows(trace: &Trace) -> Vec<Row<'_>> {
    let ids: HashSet<&str> = trace.spans.iter().map(|span| span.summary.span_id.as_str()).collect();
    let mut below: HashMap<Option<&str>, Vec<&SpanDetail>> = HashMap::new();
    for span in &trace.spans {
        let parent = span.summary.parent_span_id.as_deref();
        let parent = parent.filter(|parent| ids.contains(parent) && *parent != span.summary.span_id);
        below.entry(parent).or_default().push(span);
    }
    let (mut rows, mut seen) = (Vec::new(), HashSet::new());
    let mut stack: Vec<(&SpanDetail, usize)> =
        below.get(&None).into_iter().flatten().rev().map(|it| (*it, 0)).collect();
    while let Some((span, depth)) = stack.pop() {
        if !seen.insert(std::ptr::from_ref(span)) {
            continue;
        }
        rows.push(Row { span, depth });
        let children = below.get(&Some(span.summary.span_id.as_str())).into_iter().flatten();
        stack.extend(children.rev().map(|child| (*child, depth + 1)));
    }
    // Those of a circle are nobody's.
    let nobodys = trace.spans.iter().filter(|span| !seen.contains(&std::ptr::from_ref(*span)));
    rows.extend(nobodys.map(|span| Row { span, depth: 0 }));
    rows
}

/// Blanks, and a bar, in so many columns.
pub(super) fn bar(trace: &Trace, span: &SpanDetail, columns: usize) -> String {
    let whole = trace.duration_ms.max(0.001);
    let at = |ms: f64| ((ms / whole).clamp(0.0, 1.0) * columns as f64).round() as usize;
    let from = at(span.offset_ms).min(columns.saturating_sub(1));
    let until = at(span.offset_ms + span.summary.duration_ms).clamp(from + 1, columns.max(from + 1));
    format!("{}{}{}", " ".repeat(from), "█".repeat(until - from), " ".repeat(columns.saturating_sub(until)))
}

/// What a span is called: its service, whether it asks, and what.
pub(super) fn label(row: &Row<'_>) -> String {
    let span = &row.span.summary;
    let arrow = match span.kind.as_str() {
        "CLIENT" | "PRODUCER" => "→ ",
        _ => "",
    };
    let path = span.path.as_deref().map_or_else(String::new, |path| format!(" {path}"));
    let indent = "  ".repeat(row.depth.min(DEPTH_MAX));
    let text = format!("{} {arrow}{}{path}", span.service, span.name);
    format!("{indent}{}", harmless(&text))
}

/// The whole trace, for a terminal of so many columns.
pub(super) fn text(trace: &Trace, columns: usize, paint: Paint, has_details: bool) -> String {
    let rows = rows(trace);
    let errors = trace.spans.iter().filter(|span| span.summary.is_error).count();
    let mut out = String::new();
    let title = format!("trace {}", trace.trace_id);
    paint.add(Colour::Bold, &title, &mut out);
    let spans = if trace.spans.len() == 1 { "1 span".to_owned() } else { format!("{} spans", trace.spans.len()) };
    out.push_str(&format!("  {spans}, {}", duration((trace.duration_ms * 1e6) as u64).trim_start()));
    if errors > 0 {
        out.push_str(", ");
        paint.add(Colour::Red, &format!("{errors} failed"), &mut out);
    }
    out.push('\n');
    if let Some(missing) = &trace.missing {
        paint.add(Colour::Yellow, &format!("not whole: {missing}"), &mut out);
        out.push('\n');
    }
    let status_of = |row: &Row<'_>| harmless(row.span.summary.status.as_deref().unwrap_or("-")).into_owned();
    let statuses = rows.iter().map(|row| width(&status_of(row)).min(18)).max().unwrap_or(0);
    let rest = columns.saturating_sub(1 + statuses + 1 + 11).max(20);
    let longest = rows.iter().map(|row| width(&label(row))).max().unwrap_or(0);
    let labels = longest.min(rest * 6 / 10).max(8);
    let bars = rest.saturating_sub(labels + 1).max(4);
    for row in rows.iter().take(SHOWN_MAX) {
        let span = &row.span.summary;
        let status = status_of(row);
        let colour = Colour::of_status(&status, span.is_error);
        out.push_str(&fit(&label(row), labels));
        out.push(' ');
        paint.add(colour, &fit(&status, statuses), &mut out);
        out.push(' ');
        paint.add(if span.is_error { Colour::Red } else { Colour::Cyan }, &bar(trace, row.span, bars), &mut out);
        out.push(' ');
        out.push_str(&duration((span.duration_ms * 1e6) as u64));
        out.push('\n');
        if has_details {
            details(row, columns, paint, &mut out);
        }
    }
    if rows.len() > SHOWN_MAX {
        out.push_str(&format!("and {} more spans\n", rows.len() - SHOWN_MAX));
    }
    out
}

fn details(row: &Row<'_>, columns: usize, paint: Paint, out: &mut String) {
    let span = row.span;
    let mut all: BTreeMap<&str, &str> = span.attributes.iter().map(|(key, value)| (&**key, &**value)).collect();
    all.insert("span_id", &span.summary.span_id);
    let indent = "  ".repeat(row.depth.min(DEPTH_MAX) + 1);
    for (key, value) in all {
        let line = format!("{indent}{}={}", harmless(key), harmless(value));
        paint.add(Colour::Faint, &cut(&line, columns.saturating_sub(1)), out);
        out.push('\n');
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::api::answers::SpanSummary;

    pub(in crate::commands) fn span(
        id: &str,
        parent: Option<&str>,
        service: &str,
        kind: &str,
        from: f64,
        ms: f64,
    ) -> SpanDetail {
        SpanDetail {
            summary: SpanSummary {
                number: 1,
                trace_id: "4b".repeat(16),
                span_id: id.to_owned(),
                parent_span_id: parent.map(str::to_owned),
                service: service.to_owned(),
                namespace: String::new(),
                kind: kind.to_owned(),
                name: "GET /slow".to_owned(),
                path: None,
                status: Some(if service == "back" { "500" } else { "200" }.to_owned()),
                is_error: service == "back",
                start_unix_ms: from,
                duration_ms: ms,
            },
            offset_ms: from,
            evidence: None,
            pid: 1,
            local: None,
            attributes: [("http.route".to_owned(), "/slow".to_owned())].into(),
            resource: BTreeMap::new(),
            links: Vec::new(),
        }
    }

    fn trace(spans: Vec<SpanDetail>) -> Trace {
        Trace { trace_id: "4b".repeat(16), start_unix_ms: 0.0, duration_ms: 100.0, missing: None, spans }
    }

    #[test]
    fn spans_stand_below_their_parents_with_bars_where_they_were() {
        let trace = trace(vec![
            span("a", None, "front", "SERVER", 0.0, 100.0),
            span("b", Some("a"), "front", "CLIENT", 20.0, 60.0),
            span("c", Some("b"), "back", "SERVER", 30.0, 50.0),
        ]);
        let text = text(&trace, 80, Paint { has_colour: false }, false);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("trace {}  3 spans, 100.000ms, 1 failed", "4b".repeat(16)));
        assert!(lines[1].starts_with("front GET /slow ") && lines[1].contains(" 200 █"), "{text}");
        assert!(lines[2].starts_with("  front → GET /slow ") && lines[2].contains(" 200  "), "{text}");
        assert!(lines[3].starts_with("    back GET /slow ") && lines[3].ends_with("  50.000ms"), "{text}");
        assert!(lines.iter().all(|line| width(line) < 80), "{text}");
        let starts: Vec<usize> = lines[1..].iter().map(|line| width(line.split('█').next().unwrap())).collect();
        assert!(starts[0] < starts[1] && starts[1] < starts[2], "{text}");
    }

    #[test]
    fn circles_orphans_and_hostile_names_are_shown_too() {
        let mut hostile = span("x", Some("gone"), "sh\x1b[2Jop", "SERVER", 0.0, 1.0);
        hostile.attributes.insert("a\nb".to_owned(), "\u{202e}".to_owned());
        let mut all = trace(vec![
            span("a", Some("b"), "one", "SERVER", 0.0, 100.0),
            span("b", Some("a"), "two", "SERVER", 0.0, 200.0),
            span("s", Some("s"), "self", "SERVER", 500.0, 1.0),
            hostile,
        ]);
        all.missing = Some("its parent is not kept".to_owned());
        let text = text(&all, 40, Paint { has_colour: false }, true);
        assert!(!text.contains('\x1b') && !text.contains('\u{202e}'), "{text}");
        for word in ["one GET", "two GET", "self GET", "not whole: its parent is not kept", "a\\u{a}b=\\u{202e}"] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(rows(&trace(Vec::new())).is_empty());
    }
}
