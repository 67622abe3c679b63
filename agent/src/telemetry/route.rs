//! `http.route` of requests, of which the wire shows only the path: a template with few distinct values.
//!
//! The heuristic replaces segments that look like values (numbers, UUIDs, hashes, anything with three or more digits,
//! long or escaped) by `{id}`. A service instance has a bounded number of templates; what is new beyond that is `/*`.
//! A 404, or a request without an answer, gets only a template that another answer has taught, so that a scanner's
//! paths use up nothing and name nothing.

use std::sync::Arc;

use hashbrown::HashSet;

/// How routes are found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// No `http.route`; server spans are named by their method.
    Off,
    /// See the module's head.
    #[default]
    Heuristic,
}

/// Settings of the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// How routes are found.
    pub mode: Mode,
    /// Distinct templates per service instance.
    pub max_routes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { mode: Mode::default(), max_routes: 100 }
    }
}

/// What stands for all templates beyond the limit.
pub const OVERFLOW: &str = "/*";
const PLACEHOLDER: &str = "{id}";
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
pub struct Routes {
    known: HashSet<Arc<str>>,
}

/// Finds routes.
#[derive(Debug)]
pub struct Router {
    config: Config,
    overflow: Arc<str>,
    scratch: String,
}

impl Router {
    /// A router with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { config, overflow: Arc::from(OVERFLOW), scratch: String::with_capacity(MAX_BYTES) }
    }

    /// The route of a whole path (not one cut off by capture). `status` is that of the response, if any.
    pub fn route(&mut self, routes: &mut Routes, path: &str, status: Option<u16>) -> Option<Arc<str>> {
        if self.config.mode == Mode::Off || !path.starts_with('/') {
            return None;
        }
        template(path, &mut self.scratch);
        if let Some(known) = routes.known.get(self.scratch.as_str()) {
            return Some(Arc::clone(known));
        }
        if matches!(status, None | Some(404)) {
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
fn template(path: &str, out: &mut String) {
    out.clear();
    for (at, segment) in path.split('/').skip(1).enumerate() {
        // Path parameters (`;v=1`) are no part of a route.
        let segment = segment.split(';').next().unwrap_or_default();
        let segment = if is_value(segment.as_bytes()) { PLACEHOLDER } else { segment };
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
        let mut off = Router::new(Config { mode: Mode::Off, ..Config::default() });
        assert_eq!(off.route(&mut routes, "/a", Some(200)), None);
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
