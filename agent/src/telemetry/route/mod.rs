//! `http.route` of requests, of which the wire shows only the path: a template with few distinct values.
//!
//! Patterns that the configuration gives come first. Else segments that look like values by themselves ([`lexical`]) become
//! `{id}`, and so do those that are found to be values by what comes at their place ([`tree`]). Paths that have shared a route
//! always do. A service instance has a bounded number of routes; what is new beyond that is `/**`.
//! A 404, or a request without an answer, gets only a route that another answer has taught, so that a scanner's
//! paths use up nothing and name nothing.

mod lexical;
mod pattern;
mod program;
mod tree;

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use self::{
    lexical::{MAX_BYTES, REST},
    tree::{Growth, Learnt, Tree},
};
pub(crate) use self::{pattern::Pattern, program::ProgramRoutes};
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
    /// Most words of one place with [`Unmatched::LowCardinality`]; one that has held more holds values.
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

/// Templates of a service whose routes are remembered; then all are found anew.
const REMEMBERED_MAX: usize = 1024;
/// The first visits of a template are counted one by one, then at powers of two: what comes again soon shows.
const COUNTED_AT_ONCE: u32 = 4;

/// A service instance's routes.
#[derive(Debug, Default)]
pub struct Routes {
    /// By template, with how often it was asked for.
    remembered: HashMap<String, (Arc<str>, u32)>,
    names: HashSet<Arc<str>>,
    tree: Tree,
}

impl Routes {
    /// They are written anew: what stands for values may have changed.
    pub(super) fn forget_names(&mut self) {
        self.remembered.clear();
        self.names.clear();
    }

    /// One of few texts.
    fn name(&mut self, text: &str) -> Arc<str> {
        if let Some(name) = self.names.get(text) {
            return Arc::clone(name);
        }
        let name: Arc<str> = Arc::from(text);
        self.names.insert(Arc::clone(&name));
        name
    }
}

/// Finds routes.
#[derive(Debug)]
pub struct Router {
    config: Config,
    any: Arc<str>,
    template: String,
    route: String,
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
    pub fn new(config: Config) -> Self {
        let room = || String::with_capacity(MAX_BYTES);
        Self { config, any: Arc::from(REST), template: room(), route: room() }
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
    pub fn route(&mut self, routes: &mut Routes, path: &str, status: Option<u16>) -> Option<Arc<str>> {
        if !path.starts_with('/') {
            return None;
        }
        let max_words = match self.config.unmatched {
            Unmatched::Unset => return None,
            Unmatched::Path => return Some(Arc::from(path)),
            Unmatched::Wildcard => return Some(Arc::clone(&self.any)),
            Unmatched::Heuristic => None,
            Unmatched::LowCardinality => Some(self.config.max_words),
        };
        let placeholder = self.config.placeholder.as_str();
        lexical::template(path, placeholder, &mut self.template);
        let learns = !matches!(status, None | Some(404));
        let mut new = 1;
        if let Some((name, visits)) = routes.remembered.get_mut(self.template.as_str()) {
            *visits = visits.saturating_add(u32::from(learns));
            let is_counted = learns && (*visits <= COUNTED_AT_ONCE || visits.is_power_of_two());
            if !is_counted {
                return Some(Arc::clone(name));
            }
            new = if *visits <= COUNTED_AT_ONCE { 1 } else { *visits / 2 };
        } else if !learns {
            routes.tree.find(&self.template, placeholder, &mut self.route)?;
            return Some(routes.name(&self.route));
        }
        let growth = Growth { max_words, placeholder, max_routes: self.config.max_routes };
        let learnt = routes.tree.learn(&self.template, new, growth, &mut self.route);
        match learnt {
            Learnt::NoRoom => return Some(Arc::clone(&self.any)),
            Learnt::Changed => routes.forget_names(),
            Learnt::Route | Learnt::OfValues => {}
        }
        let name = routes.name(&self.route);
        if learnt == Learnt::Route {
            if routes.remembered.len() >= REMEMBERED_MAX {
                routes.remembered.clear();
            }
            routes.remembered.entry_ref(self.template.as_str()).or_insert_with(|| (Arc::clone(&name), 1));
        }
        Some(name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn router(max_routes: usize) -> (Router, Routes) {
        (Router::new(Config { max_routes, ..Config::default() }), Routes::default())
    }

    #[test]
    fn what_looks_like_a_value_is_one_at_once_and_what_turns_out_to_be_one_later() {
        let (mut router, mut routes) = router(100);
        let mut route = |path: &str| router.route(&mut routes, path, Some(200)).unwrap().to_string();
        assert_eq!(route("/api/items/42"), "/api/items/{id}");
        let names =
            ["anna", "berta", "clara", "dora", "emil", "fritz", "gustav", "heinz", "ida", "julia", "karl", "ludwig"];
        let slugs = || names.iter().flat_map(|first| names.iter().map(move |second| format!("/wiki/{first}-{second}")));
        assert_eq!(route("/wiki/anna-anna"), "/wiki/anna-anna");
        slugs().for_each(|path| drop(route(&path)));
        assert_eq!(
            [route("/wiki/anna-anna"), route("/wiki/otto-otto"), route("/api/items/43")],
            ["/wiki/{id}", "/wiki/{id}", "/api/items/{id}"]
        );
    }

    #[test]
    fn names_follow_the_placeholder() {
        let (mut router, mut routes) = router(100);
        assert_eq!(router.route(&mut routes, "/a/1", Some(200)).as_deref(), Some("/a/{id}"));
        let mut router = Router::new(Config { placeholder: "#".to_owned(), ..Config::default() });
        routes.forget_names();
        assert_eq!(router.route(&mut routes, "/a/1", Some(200)).as_deref(), Some("/a/#"));
    }

    #[test]
    fn what_is_new_beyond_the_limit_is_one_route_and_what_is_known_stays() {
        let (mut router, mut routes) = router(2);
        let mut route = |path| router.route(&mut routes, path, Some(200)).unwrap().to_string();
        assert_eq!([route("/a"), route("/b"), route("/c"), route("/d"), route("/a")], ["/a", "/b", "/**", "/**", "/a"]);
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
            prop_assert!(seen.len() <= 400, "with those that were joined since");
            let now: std::collections::HashSet<_> =
                paths.iter().map(|path| router.route(&mut routes, path, Some(200)).unwrap()).collect();
            prop_assert!(now.len() <= 11, "{now:?}");
        }
    }
}
