//! `http.route` of requests, of which the wire shows only the path: a template with few distinct values.
//!
//! The heuristic replaces segments that look like values (numbers, UUIDs, hashes, anything with three or more digits,
//! long or escaped) by `{id}`. A service instance has a bounded number of templates; what is new beyond that is `/*`.
//! A 404, or a request without an answer, gets only a template that another answer has taught, so that a scanner's
//! paths use up nothing and name nothing. Patterns that the configuration gives come first, whatever the answer.

mod pattern;
mod tree;

use std::sync::Arc;

use hashbrown::HashSet;

pub(crate) use self::pattern::Pattern;
use self::tree::{Growth, Tree};
use crate::config::Unmatched;

/// Settings of the router.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Routes that are known; the first that matches is taken.
    pub patterns: Vec<Pattern>,
    /// Paths whose requests are left out.
    pub ignored: Vec<Pattern>,
    /// Whether ignored requests have no span.
    pub ignores_spans: bool,
    /// Whether ignored requests are in no metric.
    pub ignores_metrics: bool,
    /// How routes are found where no pattern matches.
    pub unmatched: Unmatched,
    /// Different words of one place with [`Unmatched::LowCardinality`]; one that has held more holds values.
    pub max_words: usize,
    /// What stands for a value.
    pub placeholder: String,
    /// Distinct templates per service instance.
    pub max_routes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            ignored: Vec::new(),
            ignores_spans: true,
            ignores_metrics: true,
            unmatched: Unmatched::default(),
            max_words: 10,
            placeholder: "{id}".to_owned(),
            max_routes: 100,
        }
    }
}

/// What stands for all templates beyond the limit.
pub(crate) const OVERFLOW: &str = "/*";
const ANY: &str = "/**";
const MAX_SEGMENTS: usize = 10;
const MAX_BYTES: usize = 200;
/// Segments longer than this are values.
const MAX_SEGMENT_BYTES: usize = 40;
/// Segments of hexadecimal digits only, this long, are values even without a decimal digit.
const MIN_HEX_BYTES: usize = 16;
/// `v1`, `oauth2`, `base64` are words; `sha256` and `order-1234` are not told apart.
const MAX_DIGITS: usize = 2;

/// A service instance's templates.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    known: HashSet<Arc<str>>,
    tree: Tree,
}

/// Finds routes.
#[derive(Debug)]
pub(crate) struct Router {
    config: Config,
    overflow: Arc<str>,
    any: Arc<str>,
    scratch: String,
}

/// For which signals a request is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ignored {
    /// It has no span.
    pub span: bool,
    /// It is in no metric.
    pub metrics: bool,
}

impl Router {
    /// A router with these settings.
    #[must_use]
    pub(crate) fn new(config: Config) -> Self {
        let scratch = String::with_capacity(MAX_BYTES);
        Self { config, overflow: Arc::from(OVERFLOW), any: Arc::from(ANY), scratch }
    }

    /// Whether the configuration leaves a path's requests out.
    #[must_use]
    pub(crate) fn ignores(&self, path: &str) -> Ignored {
        let is_ignored = self.config.ignored.iter().any(|pattern| pattern.matches(path));
        Ignored { span: is_ignored && self.config.ignores_spans, metrics: is_ignored && self.config.ignores_metrics }
    }

    /// The first of the common patterns, then of the service's own, that a whole path is of.
    #[must_use]
    pub(crate) fn given(&self, of_service: &[Pattern], path: &str) -> Option<Arc<str>> {
        self.config.patterns.iter().chain(of_service).find_map(|pattern| pattern.route(path))
    }

    /// The route of a whole path (not one cut off by capture) that is of no pattern. `status` is that of the response,
    /// if any.
    pub(crate) fn route(&mut self, routes: &mut Routes, path: &str, status: Option<u16>) -> Option<Arc<str>> {
        if !path.starts_with('/') {
            return None;
        }
        let learns = !matches!(status, None | Some(404));
        match self.config.unmatched {
            Unmatched::Unset => return None,
            Unmatched::Path => return Some(Arc::from(path)),
            Unmatched::Wildcard => return Some(Arc::clone(&self.any)),
            Unmatched::Heuristic => template(path, &self.config.placeholder, &mut self.scratch),
            Unmatched::LowCardinality => {
                let growth = Growth { max_words: self.config.max_words, placeholder: &self.config.placeholder, learns };
                if !routes.tree.template(path, growth, &mut self.scratch) {
                    return None;
                }
            }
        }
        if let Some(known) = routes.known.get(self.scratch.as_str()) {
            return Some(Arc::clone(known));
        }
        if !learns {
            return None;
        }
        if routes.known.len() >= self.config.max_routes {
            return Some(Arc::clone(&self.overflow));
        }
        let new: Arc<str> = Arc::from(self.scratch.as_str());
        routes.known.insert(Arc::clone(&new));
        Some(new)
    }
}

/// Writes the template of `path` to `out`.
fn template(path: &str, placeholder: &str, out: &mut String) {
    out.clear();
    for (at, segment) in path.split('/').skip(1).enumerate() {
        // Path parameters (`;v=1`) are no part of a route.
        let segment = segment.split(';').next().unwrap_or_default();
        let segment = if is_value(segment.as_bytes()) { placeholder } else { segment };
        if at == MAX_SEGMENTS || out.len() + 1 + segment.len() + OVERFLOW.len() > MAX_BYTES {
            out.push_str(OVERFLOW);
            return;
        }
        out.push('/');
        out.push_str(segment);
    }
}

/// Whether a segment looks like a value rather than a part of the program.
fn is_value(segment: &[u8]) -> bool {
    let mut digits = 0;
    let mut only_hex = true;
    let mut only_numbers = !segment.is_empty();
    for byte in segment {
        match byte {
            b'0'..=b'9' => digits += 1,
            b'a'..=b'f' | b'A'..=b'F' => only_numbers = false,
            b'-' | b'.' | b'_' | b':' | b',' => only_hex = false,
            b'a'..=b'z' | b'A'..=b'Z' | b'~' | b'*' => (only_hex, only_numbers) = (false, false),
            _ => return true,
        }
    }
    (digits > 0 && only_numbers)
        || digits > MAX_DIGITS
        || segment.len() > MAX_SEGMENT_BYTES
        || (only_hex && segment.len() >= MIN_HEX_BYTES)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn router(max_routes: usize) -> (Router, Routes) {
        (Router::new(Config { max_routes, ..Config::default() }), Routes::default())
    }

    #[test]
    fn values_become_placeholders_and_words_stay() {
        let (mut router, mut routes) = router(100);
        for (path, expected) in [
            ("/", "/"),
            ("/api/items/42", "/api/items/{id}"),
            ("/api/v1/items/", "/api/v1/items/"),
            ("/users/4bf92f35-77b3-4da6-a3ce-929d0e0e4736/posts", "/users/{id}/posts"),
            ("/commit/deadbeefdeadbeef", "/commit/{id}"),
            ("/commit/0a1b2c", "/commit/{id}"),
            ("/day/2024-01-02", "/day/{id}"),
            ("/order-98765", "/{id}"),
            ("/oauth2/token", "/oauth2/token"),
            ("/cafe/face/bad", "/cafe/face/bad"),
            ("/u/me@example.com", "/u/{id}"),
            ("/a%20b", "/{id}"),
            ("/a;jsessionid=1/b", "/a/b"),
            ("/i/-", "/i/-"),
            ("/1/2/3/4/5/6/7/8/9/10/11", "/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/{id}/*"),
        ] {
            assert_eq!(router.route(&mut routes, path, Some(200)).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_is_new_beyond_the_limit_is_one_route_and_what_is_known_stays() {
        let (mut router, mut routes) = router(2);
        let mut route = |path| router.route(&mut routes, path, Some(200)).unwrap().to_string();
        assert_eq!([route("/a"), route("/b"), route("/c"), route("/d"), route("/a")], ["/a", "/b", "/*", "/*", "/a"]);
    }

    #[test]
    fn a_404_teaches_no_route() {
        let (mut router, mut routes) = router(100);
        assert_eq!(router.route(&mut routes, "/items/1", Some(404)), None);
        assert_eq!(router.route(&mut routes, "/items/1", None), None);
        assert_eq!(router.route(&mut routes, "/items/1", Some(200)).as_deref(), Some("/items/{id}"));
        assert_eq!(router.route(&mut routes, "/items/2", Some(404)).as_deref(), Some("/items/{id}"));
    }

    #[test]
    fn what_is_no_path_has_no_route_and_off_is_off() {
        let (mut router, mut routes) = router(100);
        assert_eq!(router.route(&mut routes, "*", Some(200)), None);
        assert_eq!(router.route(&mut routes, "", Some(200)), None);
        let mut off = Router::new(Config { unmatched: Unmatched::Unset, ..Config::default() });
        assert_eq!(off.route(&mut routes, "/a", Some(200)), None);
    }

    #[test]
    fn given_patterns_come_first_the_common_ones_before_the_services() {
        let config = Config { patterns: vec![Pattern::new("/a/{common}")], ..Config::default() };
        let router = Router::new(config);
        let own = [Pattern::new("/a/:own"), Pattern::new("/b/:own")];
        assert_eq!(router.given(&own, "/a/1").as_deref(), Some("/a/{common}"));
        assert_eq!(router.given(&own, "/b/1").as_deref(), Some("/b/:own"));
        assert_eq!(router.given(&own, "/c/1"), None);
    }

    #[test]
    fn each_mode_names_what_no_pattern_matches() {
        let mut routes = Routes::default();
        let mut route = |unmatched| {
            let config = Config { unmatched, placeholder: "#".to_owned(), ..Config::default() };
            Router::new(config).route(&mut routes, "/users/42", Some(200)).map(|route| route.to_string())
        };
        assert_eq!(route(Unmatched::Unset), None);
        assert_eq!(route(Unmatched::Path).as_deref(), Some("/users/42"));
        assert_eq!(route(Unmatched::Wildcard).as_deref(), Some("/**"));
        assert_eq!(route(Unmatched::Heuristic).as_deref(), Some("/users/#"));
        assert_eq!(route(Unmatched::LowCardinality).as_deref(), Some("/users/#"));
    }

    #[test]
    fn ignored_paths_are_left_out_of_the_signals_asked_for() {
        let ignored = vec![Pattern::new("/healthz"), Pattern::new("/internal/*")];
        let router = Router::new(Config { ignored: ignored.clone(), ignores_metrics: false, ..Config::default() });
        assert_eq!(router.ignores("/healthz"), Ignored { span: true, metrics: false });
        assert_eq!(router.ignores("/health"), Ignored::default());
        let router = Router::new(Config { ignored, ignores_spans: false, ..Config::default() });
        assert_eq!(router.ignores("/internal/a/b"), Ignored { span: false, metrics: true });
    }

    proptest! {
        #[test]
        fn routes_are_bounded_in_number_and_length(paths in proptest::collection::vec("/\\PC{0,300}", 0..50)) {
            let (mut router, mut routes) = router(10);
            let mut seen = std::collections::HashSet::new();
            for path in &paths {
                let route = router.route(&mut routes, path, Some(200)).unwrap();
                prop_assert!(route.len() <= MAX_BYTES);
                seen.insert(route);
            }
            prop_assert!(seen.len() <= 11);
        }
    }
}
