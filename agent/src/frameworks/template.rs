//! How frameworks write the values of a route.

use crate::model::route::{Part, ProgramRoute};

/// A framework's way to write them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `<name>`, `<int:name>`, `<path:name>`: Flask and Django.
    Angle,
    /// `{name}`, `{name:path}`: Starlette and FastAPI.
    Starlette,
    /// `{name}`, `{name:regex}`, `**`: Spring and JAX-RS.
    Java,
    /// `:name`, `*name`: Express.
    Colon,
    /// `[name]`, `[...name]`, `[[...name]]`: Next.
    Square,
}

/// The route of a path as it is written; `None` where part of a segment is a value, or a pattern of which this knows nothing.
pub(super) fn route(style: Style, path: &str) -> Option<ProgramRoute> {
    let text = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    let segments: Vec<&str> = text.split('/').skip(1).collect();
    let mut parts = Vec::new();
    for (at, segment) in segments.iter().enumerate() {
        let part = part(style, segment)?;
        let is_rest = matches!(part, Part::Rest | Part::RestOrNone);
        if is_rest && at + 1 < segments.len() {
            return None;
        }
        parts.push(part);
    }
    Some(ProgramRoute { text, parts })
}

fn part(style: Style, segment: &str) -> Option<Part> {
    let inner = |open: &str, close: &str| segment.strip_prefix(open)?.strip_suffix(close);
    let is_word =
        |text: &str| !text.contains(['<', '>', '{', '}', '*', '[', ']', '(', ')', '?', '+', '\\', '^', '$', '|']);
    let is_name = |text: &str| {
        !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.'))
    };
    match style {
        Style::Angle => {
            if let Some(value) = inner("<", ">") {
                let (converter, name) = value.split_once(':').unwrap_or(("string", value));
                return match converter.trim() {
                    _ if !is_name(name.trim()) => None,
                    "string" | "str" | "uuid" | "slug" => Some(Part::Value),
                    "int" => Some(Part::Number),
                    "path" => Some(Part::Rest),
                    _ => None,
                };
            }
        }
        Style::Starlette => {
            if let Some(value) = inner("{", "}") {
                let (name, converter) = value.split_once(':').unwrap_or((value, "str"));
                return match converter {
                    _ if !is_name(name) => None,
                    "str" | "uuid" => Some(Part::Value),
                    "int" => Some(Part::Number),
                    "path" => Some(Part::Rest),
                    _ => None,
                };
            }
        }
        Style::Java => {
            if segment == "**" {
                return Some(Part::RestOrNone);
            }
            if let Some(value) = inner("{", "}") {
                if let Some(name) = value.strip_prefix('*') {
                    return is_name(name).then_some(Part::RestOrNone);
                }
                return match value.split_once(':') {
                    None => is_name(value.trim()).then_some(Part::Value),
                    Some((_, "[0-9]+" | "\\d+" | " [0-9]+" | " \\d+")) => Some(Part::Number),
                    // A pattern of which this knows only that it stands in one segment.
                    Some(_) => None,
                };
            }
        }
        Style::Colon => {
            if let Some(name) = segment.strip_prefix(':') {
                return is_name(name).then_some(Part::Value).filter(|_| !name.contains(['-', '.']));
            }
            if segment.contains(':') {
                return None;
            }
            if let Some(name) = segment.strip_prefix('*') {
                return (name.is_empty() || is_name(name)).then_some(Part::Rest);
            }
        }
        Style::Square => {
            if let Some(name) = inner("[[...", "]]") {
                return is_name(name).then_some(Part::RestOrNone);
            }
            if let Some(name) = inner("[...", "]") {
                return is_name(name).then_some(Part::Rest);
            }
            if let Some(name) = inner("[", "]") {
                return is_name(name).then_some(Part::Value);
            }
        }
    }
    is_word(segment).then(|| Part::Word(segment.to_owned()))
}

/// A prefix and what follows it, with one slash between them.
pub(super) fn under(prefix: &str, path: &str) -> String {
    let prefix = prefix.trim_end_matches('/');
    match path.trim_start_matches('/') {
        "" if !prefix.is_empty() && path.is_empty() => prefix.to_owned(),
        rest => format!("{prefix}/{rest}"),
    }
}

/// What one of several is called, where that is plain.
pub(super) fn singular(name: &str) -> Option<&str> {
    let one = name.strip_suffix('s')?;
    let is_plain = !["s", "ie", "se", "xe", "he", "u", "i", "ve", "oe"].iter().any(|end| one.ends_with(end));
    is_plain.then_some(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_from_words_and_what_is_not_known_is_no_route() {
        let word = |text: &str| Part::Word(text.to_owned());
        for (style, path, expected) in [
            (Style::Angle, "/users/<int:id>", Some(vec![word("users"), Part::Number])),
            (Style::Angle, "users/<name>/", Some(vec![word("users"), Part::Value, word("")])),
            (Style::Angle, "/f/<path:p>", Some(vec![word("f"), Part::Rest])),
            (Style::Angle, "/f/<path:p>/x", None),
            (Style::Angle, "/f/<regex('a'):p>", None),
            (Style::Angle, "/a.<ext>", None),
            (Style::Starlette, "/u/{id}", Some(vec![word("u"), Part::Value])),
            (Style::Starlette, "/u/{id:path}", Some(vec![word("u"), Part::Rest])),
            (Style::Java, "/u/{id:[0-9]+}", Some(vec![word("u"), Part::Number])),
            (Style::Java, "/u/**", Some(vec![word("u"), Part::RestOrNone])),
            (Style::Java, "/u/{a}.{b}", None),
            (Style::Colon, "/u/:id", Some(vec![word("u"), Part::Value])),
            (Style::Colon, "/u/:a-:b", None),
            (Style::Colon, "/u/:id(\\d+)", None),
            (Style::Square, "/p/[id]", Some(vec![word("p"), Part::Value])),
            (Style::Square, "/p/[...all]", Some(vec![word("p"), Part::Rest])),
        ] {
            assert_eq!(route(style, path).map(|route| route.parts), expected, "{path}");
        }
    }

    #[test]
    fn prefixes_are_joined_by_one_slash() {
        for (prefix, path, expected) in [
            ("/a", "/b", "/a/b"),
            ("/a/", "b", "/a/b"),
            ("", "/", "/"),
            ("/a", "", "/a"),
            ("/a", "/", "/a/"),
            ("", "", "/"),
        ] {
            assert_eq!(under(prefix, path), expected, "{prefix:?} {path:?}");
        }
    }
}
