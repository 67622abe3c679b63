//! What people read on a terminal: which of other programs' text is harmless, how wide it is, how it is cut, and whether there is
//! colour.

use std::{borrow::Cow, io::IsTerminal};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// Where a terminal does not say how wide it is.
const USUAL_COLUMNS: usize = 80;

/// Whether a terminal would act on it: control characters; separators of lines and paragraphs; marks that reorder or hide.
pub(crate) fn acts_on_terminal(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// Appends `text` with what a terminal would act on as `\u{1b}`.
pub(crate) fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        if acts_on_terminal(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
}

/// The same as a text of its own.
pub(crate) fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(acts_on_terminal) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    escape(text, &mut out);
    Cow::Owned(out)
}

/// How text is painted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    Red,
    Green,
    Yellow,
    Cyan,
    Faint,
    Bold,
}

impl Colour {
    /// By what became of a request: its status as a line has it, and whether it failed.
    pub(crate) fn of_status(status: &str, is_error: bool) -> Self {
        match status.as_bytes() {
            _ if is_error => Self::Red,
            [b'4', _, _] => Self::Yellow,
            [b'1' | b'3', _, _] => Self::Cyan,
            [b'2', _, _] | b"OK" | b"ok" | b"0" => Self::Green,
            _ => Self::Faint,
        }
    }
}

/// Whether there is colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint {
    pub(crate) has_colour: bool,
}

impl Paint {
    /// On a terminal: as <https://no-color.org> and `TERM` say. Elsewhere: none.
    pub(crate) fn for_stdout() -> Self {
        Self::on(std::io::stdout().is_terminal())
    }

    /// The same of standard error.
    pub(crate) fn for_stderr() -> Self {
        Self::on(std::io::stderr().is_terminal())
    }

    fn on(is_terminal: bool) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Self { has_colour: is_terminal && !is_set("NO_COLOR") && !is_dumb }
    }

    /// Appends `text` in a colour.
    pub(crate) fn add(self, colour: Colour, text: &str, out: &mut String) {
        if !self.has_colour {
            return out.push_str(text);
        }
        let code = match colour {
            Colour::Red => "31",
            Colour::Green => "32",
            Colour::Yellow => "33",
            Colour::Cyan => "36",
            Colour::Faint => "2",
            Colour::Bold => "1",
        };
        out.extend(["\x1b[", code, "m", text, "\x1b[0m"]);
    }
}

/// How many columns the terminal behind standard output has.
pub(crate) fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(USUAL_COLUMNS)
}

/// Columns that a text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// A text that takes no more columns than these: what is too long is cut in the middle, since beginnings and ends tell most.
pub(crate) fn cut(text: &str, columns: usize) -> Cow<'_, str> {
    if text.width() <= columns {
        return Cow::Borrowed(text);
    }
    let Some(rest) = columns.checked_sub(1) else { return Cow::Borrowed("") };
    let (front, back) = (rest - rest / 2, rest / 2);
    let mut taken = 0;
    let head = text.chars().take_while(|c| {
        taken += c.width().unwrap_or(0);
        taken <= front
    });
    let mut out: String = head.collect();
    let mut taken = 0;
    let tail = text.char_indices().rev().take_while(|(_, c)| {
        taken += c.width().unwrap_or(0);
        taken <= back
    });
    let from = tail.last().map_or(text.len(), |(at, _)| at);
    out.push('…');
    out.push_str(text.get(from..).unwrap_or_default());
    Cow::Owned(out)
}

/// Blanks behind a text that make it take so many columns.
pub(crate) fn blanks(text: &str, columns: usize) -> &'static str {
    const BLANKS: &str = "                                                                                                                                                                                                                                                                ";
    let count = columns.saturating_sub(text.width()).min(BLANKS.len());
    BLANKS.get(..count).unwrap_or_default()
}

/// A text in exactly so many columns.
pub(crate) fn fit(text: &str, columns: usize) -> String {
    let cut = cut(text, columns);
    format!("{cut}{}", blanks(&cut, columns))
}

/// A length of time in ten columns, the points of all that are shorter than ten seconds below each other.
pub(crate) fn duration(ns: u64) -> String {
    let micros = ns.saturating_add(500) / 1000;
    if micros < 10_000_000 {
        return format!("{:>4}.{:03}ms", micros / 1000, micros % 1000);
    }
    let millis = micros / 1000;
    format!("{:>5}.{:03}s", millis / 1000, millis % 1000)
}

/// A length of time in a few characters, as a list has it.
pub(crate) fn short_ms(ms: f64) -> String {
    match ms {
        ms if ms < 9.995 => format!("{ms:.2}ms"),
        ms if ms < 999.5 => format!("{ms:.0}ms"),
        ms if ms < 99_950.0 => format!("{:.1}s", ms / 1000.0),
        ms => format!("{:.0}s", ms / 1000.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_long_is_cut_in_the_middle_by_columns_and_not_by_bytes() {
        for (text, columns, cut_text) in [
            ("GET /items", 10, "GET /items"),
            ("GET /items/{id}", 10, "GET /…{id}"),
            ("GET /items/{id}", 1, "…"),
            ("GET /items/{id}", 0, ""),
            ("日本語日本語", 7, "日…語"),
            ("日本語", 6, "日本語"),
        ] {
            let found = cut(text, columns);
            assert_eq!(found, cut_text, "{text} in {columns}");
            assert!(width(&found) <= columns);
            assert_eq!(width(&fit(text, columns)), columns);
        }
    }

    #[test]
    fn durations_line_up() {
        let shown: Vec<String> = [0, 499, 500, 1_234_000, 9_999_999_000, 12_345_678_000].map(duration).into();
        assert_eq!(shown, ["   0.000ms", "   0.000ms", "   0.001ms", "   1.234ms", "9999.999ms", "   12.345s"]);
        assert!(shown.iter().all(|text| width(text) == 10));
        let short: Vec<String> = [0.012, 9.99, 12.3, 999.0, 1500.0, 120_000.0].map(short_ms).into();
        assert_eq!(short, ["0.01ms", "9.99ms", "12ms", "999ms", "1.5s", "120s"]);
    }

    #[test]
    fn colour_is_by_status_and_there_is_none_where_none_is_wanted() {
        assert_eq!(Colour::of_status("500", true), Colour::Red);
        assert_eq!(Colour::of_status("404", false), Colour::Yellow);
        assert_eq!(Colour::of_status("200", false), Colour::Green);
        assert_eq!(Colour::of_status("unseen", false), Colour::Faint);
        let mut out = String::new();
        Paint { has_colour: false }.add(Colour::Red, "500", &mut out);
        Paint { has_colour: true }.add(Colour::Red, "500", &mut out);
        assert_eq!(out, "500\x1b[31m500\x1b[0m");
    }
}
