//! Routes that the configuration gives: `/users/{id}`, `/users/:id`, `/users/*/posts`, `/static/*`.

use std::sync::Arc;

/// A path with places for values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// As it was written: the route of what matches.
    text: Arc<str>,
    segments: Vec<Segment>,
    /// The last segment is `*` or `**`: any number of segments more, at least one.
    takes_rest: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    Word(Box<str>),
    /// Any, but not an empty one.
    Value,
}

impl Pattern {
    /// Reads a pattern. What begins without `/` is read as if it had one.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut segments: Vec<Segment> = text.strip_prefix('/').unwrap_or(text).split('/').map(Segment::new).collect();
        let takes_rest = text.ends_with("/*") || text.ends_with("/**") || matches!(text, "*" | "**");
        if takes_rest {
            segments.pop();
        }
        Self { text: Arc::from(text), segments, takes_rest }
    }

    /// Whether a path (without its query) is of this form.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let Some(path) = path.strip_prefix('/') else { return false };
        let mut rest = path.split('/');
        let all_match = self.segments.iter().all(|segment| rest.next().is_some_and(|part| segment.matches(part)));
        all_match && rest.next().is_some() == self.takes_rest
    }

    /// The pattern's text, if a path is of its form.
    #[must_use]
    pub fn route(&self, path: &str) -> Option<Arc<str>> {
        self.matches(path).then(|| Arc::clone(&self.text))
    }
}

impl Segment {
    fn new(text: &str) -> Self {
        let is_value =
            text == "*" || text.starts_with(':') && text.len() > 1 || text.starts_with('{') && text.ends_with('}');
        if is_value { Self::Value } else { Self::Word(text.into()) }
    }

    fn matches(&self, part: &str) -> bool {
        match self {
            Self::Word(word) => **word == *part,
            Self::Value => !part.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_match_one_segment_and_a_last_star_all_the_rest() {
        for (pattern, path, expected) in [
            ("/users/{id}", "/users/42", true),
            ("/users/:id", "/users/42", true),
            ("/users/*", "/users/42", true),
            ("/users/{id}", "/users/", false),
            ("/users/{id}", "/users/42/posts", false),
            ("/users/{id}/posts", "/users/42/posts", true),
            ("/users/*/posts", "/users/42/posts", true),
            ("/users/*/posts", "/users/42/likes", false),
            ("/static/*", "/static/a/b/c.js", true),
            ("/static/**", "/static/a", true),
            ("/static/*", "/static", false),
            ("/static/*", "/static/", true),
            ("/*", "/", true),
            ("/", "/", true),
            ("/", "/a", false),
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/", false),
            ("/a:b", "/a:b", true),
            ("/a:b", "/axb", false),
            ("/x", "x", false),
        ] {
            assert_eq!(Pattern::new(pattern).matches(path), expected, "{pattern} on {path}");
        }
        assert_eq!(Pattern::new("/a/:b").route("/a/1").as_deref(), Some("/a/:b"));
    }
}
