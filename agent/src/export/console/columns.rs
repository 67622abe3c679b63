//! A span as a line on a terminal: columns that line up, coloured by status, what is too long for it cut in the middle. It is
//! for eyes: what reads lines is given those of [`super::text`].

use jiff::tz::TimeZone;

use super::text;
use crate::{
    model::span::{Kind, Span, Status},
    terminal::{Colour, Paint, blanks, cut, duration, fit, harmless, width},
};

/// From so many columns on there is room for ms and for the other end; from so many, for the trace's id.
const WIDE: usize = 110;
const WIDEST: usize = 150;
/// Columns of the other end's address, and of a trace's id, with the blanks before.
const OTHER_END: usize = 24;
const TRACE: usize = 34;
/// Least columns of what was asked.
const REQUEST_LEAST: usize = 16;

/// See the module. Columns grow to what they have shown, so that the lines before are nearly where those behind are.
pub(super) struct Columns {
    zone: TimeZone,
    paint: Paint,
    has_header: bool,
    status: usize,
    kind: usize,
    protocol: usize,
    service: usize,
}

impl Columns {
    pub(super) const fn new(zone: TimeZone, paint: Paint) -> Self {
        Self { zone, paint, has_header: false, status: 6, kind: 6, protocol: 5, service: 12 }
    }

    /// Appends the line, for a terminal of so many columns.
    pub(super) fn line(&mut self, span: &Span, columns: usize, out: &mut String) {
        let is_wide = columns >= WIDE;
        let (mut time, mut status, mut name, mut other) = (String::new(), String::new(), String::new(), String::new());
        // Writing to a string cannot fail.
        let _written = text::time(span.start_unix_ns, &self.zone, &mut time).is_ok()
            && text::status(span, &mut status).is_ok()
            && text::other_end(span, &mut other).is_ok();
        text::name(span, &mut name);
        let (kind, protocol) = (span.kind.name(), harmless(&text::protocol(span)).into_owned());
        let service = harmless(&span.resource.service_name);
        let grown = |now: usize, text: &str, most: usize| now.max(width(text).min(most));
        self.status = grown(self.status, &status, if is_wide { 18 } else { 8 });
        self.kind = grown(self.kind, kind, 8);
        self.protocol = grown(self.protocol, &protocol, 10);
        self.service = grown(self.service, &service, (columns / 6).max(12));
        let time_columns = if is_wide { 12 } else { 8 };
        let fixed = time_columns + 1 + 10 + 1 + self.status + 1 + self.kind + 1 + self.protocol + 1 + self.service + 1;
        // The last column stays empty: some terminals go to the next line when it is written to.
        let rest = columns.saturating_sub(fixed + 1);
        let behind = match columns {
            WIDEST.. => OTHER_END + TRACE,
            WIDE.. => OTHER_END,
            _ => 0,
        };
        let request = rest.saturating_sub(behind).max(REQUEST_LEAST);
        if !self.has_header {
            self.has_header = true;
            self.header(time_columns, request, behind, out);
        }
        let paint = self.paint;
        paint.add(Colour::Faint, time.get(..time_columns).unwrap_or(&time), out);
        out.push(' ');
        let is_error = span.status == Status::Error;
        let colour = Colour::of_status(&status, is_error);
        out.push_str(&duration(span.end_unix_ns.saturating_sub(span.start_unix_ns)));
        out.push(' ');
        paint.add(colour, &cut(&status, self.status), out);
        out.push_str(blanks(&cut(&status, self.status), self.status + 1));
        let asks = matches!(span.kind, Kind::Client | Kind::Producer);
        let painted = |text: &str, out: &mut String| {
            if asks { paint.add(Colour::Faint, text, out) } else { out.push_str(text) }
        };
        painted(&fit(kind, self.kind), out);
        out.push(' ');
        painted(&fit(&protocol, self.protocol), out);
        out.push(' ');
        paint.add(Colour::Bold, &fit(&service, self.service), out);
        out.push(' ');
        if behind == 0 {
            let name = cut(&name, request);
            if is_error { paint.add(colour, &name, out) } else { out.push_str(&name) }
        } else {
            let name = fit(&name, request);
            if is_error {
                paint.add(colour, &name, out)
            } else {
                out.push_str(&name)
            }
            let arrow = if matches!(span.kind, Kind::Server | Kind::Internal) { "←" } else { "→" };
            let other = format!(" {arrow} {other}");
            let other = if behind > OTHER_END { fit(&other, OTHER_END) } else { cut(&other, OTHER_END).into_owned() };
            paint.add(Colour::Faint, &other, out);
            if behind > OTHER_END {
                paint.add(Colour::Faint, &format!("  {}", span.trace_id), out);
            }
        }
        out.push('\n');
    }

    fn header(&self, time: usize, request: usize, behind: usize, out: &mut String) {
        let mut header = format!(
            "{} {:>10} {} {} {} {} ",
            fit("TIME", time),
            "DURATION",
            fit("STATUS", self.status),
            fit("KIND", self.kind),
            fit("PROTO", self.protocol),
            fit("SERVICE", self.service)
        );
        if behind == 0 {
            header.push_str("REQUEST");
        } else {
            header.push_str(&fit("REQUEST", request));
            header.push_str(&fit(" OTHER END", OTHER_END));
            header.push_str(if behind > OTHER_END { "  TRACE" } else { "" });
        }
        self.paint.add(Colour::Faint, header.trim_end(), out);
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::testing,
        model::span::{Attribute, Value},
    };

    fn shown(spans: &[Span], columns: usize, has_colour: bool) -> Vec<String> {
        let mut out = String::new();
        let mut all = Columns::new(TimeZone::UTC, Paint { has_colour });
        spans.iter().for_each(|span| all.line(span, columns, &mut out));
        out.lines().map(str::to_owned).collect()
    }

    fn failed() -> Span {
        let mut span = testing::span(2);
        span.attributes.iter_mut().filter(|it| it.key == "http.response.status_code").for_each(|it| {
            it.value = Value::Int(503);
        });
        (span.status, span.end_unix_ns) = (Status::Error, span.start_unix_ns + 2_500_000_000);
        span.name = format!("GET /{}/end", "very/".repeat(100)).into();
        span
    }

    #[test]
    fn columns_line_up_and_no_line_is_wider_than_the_terminal() {
        for columns in [80, 120, 200] {
            let lines = shown(&[testing::span(1), failed()], columns, false);
            assert_eq!(lines.len(), 3, "{lines:?}");
            assert!(lines.iter().all(|line| width(line) < columns), "{lines:?}");
            let at = |line: &str, text: &str| line.find(text).map(|at| width(&line[..at]));
            assert_eq!(at(&lines[0], "STATUS"), at(&lines[1], "200 "), "{lines:?}");
            assert_eq!(at(&lines[0], "STATUS"), at(&lines[2], "503 "), "{lines:?}");
            assert_eq!(at(&lines[0], "REQUEST"), at(&lines[2], "GET /very"), "{lines:?}");
            assert!(lines[2].contains("…") && lines[2].contains("/end"), "{lines:?}");
            assert_eq!(lines[1].contains(&testing::span(1).trace_id.to_string()), columns == 200);
        }
        assert_eq!(
            shown(&[testing::span(1)], 80, false)[1],
            "10:20:01    1.234ms 200    SERVER HTTP  shop-api     GET /api/items/{id}"
        );
    }

    #[test]
    fn colour_is_there_where_it_is_wanted_and_names_cannot_add_any() {
        let mut hostile = failed();
        hostile.attributes.push(Attribute { key: "x", value: Value::Int(1) });
        hostile.name = "GET /\x1b[32mfine\u{202e}".into();
        let plain = shown(&[hostile.clone()], 120, false).join("\n");
        assert!(!plain.contains('\x1b') && plain.contains("\\u{1b}[32mfine\\u{202e}"), "{plain}");
        let painted = shown(&[hostile], 120, true).join("\n");
        assert!(painted.contains("\x1b[31m503\x1b[0m") && !painted.contains("\x1b[32m"), "{painted}");
    }
}
