//! Patterns that a program's code in Go hands to its router: those of `net/http` to `http.ServeMux` (`[METHOD ][HOST]/[PATH]`), and those of chi, gin, echo, gorilla and
//! fiber, each in its own words. Patterns that end with a slash are for all that lies below, which mostly another router divides: what comes there is left to be learnt, as is what
//! a router is given in a function that does not say which part of all paths it is for.

use std::cmp::Reverse;

use crate::{
    model::{
        ids::ProcessId,
        route::{Part, ProgramRoute},
    },
    procs::fs::ProcFs,
    runtimes::{Doer, Does, texts},
};

/// How a framework writes patterns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    /// `/{name}`, `/{name...}`, with a method and a host before it.
    ServeMux,
    /// `/{name}`, `/{name:EXPRESSION}`, `/*`.
    Braces,
    /// `/:name`, `/*name`.
    Colons,
}

/// Who takes a pattern. Of those of `ServeMux` the last is what the others end in, which the compiler may have put in their place; so it is with `handle` of chi and gin,
/// `add` of echo and `register` of fiber.
const DOERS: &[(Doer, Syntax)] = &[
    (("net/http.Handle", Does::Takes(0)), Syntax::ServeMux),
    (("net/http.HandleFunc", Does::Takes(0)), Syntax::ServeMux),
    (("net/http.(*ServeMux).Handle", Does::Takes(1)), Syntax::ServeMux),
    (("net/http.(*ServeMux).HandleFunc", Does::Takes(1)), Syntax::ServeMux),
    (("net/http.(*ServeMux).register", Does::Takes(1)), Syntax::ServeMux),
    (("github.com/go-chi/chi/v5.NewMux", Does::Makes), Syntax::Braces),
    (("github.com/go-chi/chi/v5.NewRouter", Does::Makes), Syntax::Braces),
    (("github.com/go-chi/chi/v5.(*Mux).handle", Does::TakesForNew(2)), Syntax::Braces),
    (("github.com/go-chi/chi/v5.(*Mux).Get", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi/v5.(*Mux).Post", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi/v5.(*Mux).Put", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi/v5.(*Mux).Patch", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi/v5.(*Mux).Delete", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi/v5.(*Mux).Handle", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi/v5.(*Mux).HandleFunc", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi.NewMux", Does::Makes), Syntax::Braces),
    (("github.com/go-chi/chi.NewRouter", Does::Makes), Syntax::Braces),
    (("github.com/go-chi/chi.(*Mux).handle", Does::TakesForNew(2)), Syntax::Braces),
    (("github.com/go-chi/chi.(*Mux).Get", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi.(*Mux).Post", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi.(*Mux).Put", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi.(*Mux).Patch", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi.(*Mux).Delete", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi.(*Mux).Handle", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/go-chi/chi.(*Mux).HandleFunc", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/gin-gonic/gin.New", Does::Makes), Syntax::Colons),
    (("github.com/gin-gonic/gin.Default", Does::Makes), Syntax::Colons),
    (("github.com/gin-gonic/gin.(*RouterGroup).Group", Does::Groups(1)), Syntax::Colons),
    (("github.com/gin-gonic/gin.(*RouterGroup).handle", Does::TakesFor(3)), Syntax::Colons),
    (("github.com/gin-gonic/gin.(*RouterGroup).GET", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gin-gonic/gin.(*RouterGroup).POST", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gin-gonic/gin.(*RouterGroup).PUT", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gin-gonic/gin.(*RouterGroup).PATCH", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gin-gonic/gin.(*RouterGroup).DELETE", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gin-gonic/gin.(*RouterGroup).Any", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gin-gonic/gin.(*RouterGroup).Handle", Does::TakesFor(3)), Syntax::Colons),
    (("github.com/labstack/echo/v4.New", Does::Makes), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Echo).Group", Does::Groups(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Group).Group", Does::Groups(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Echo).add", Does::TakesFor(5)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Echo).GET", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Echo).POST", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Echo).PUT", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Echo).PATCH", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Echo).DELETE", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Echo).Add", Does::TakesFor(3)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Group).Add", Does::TakesFor(3)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Group).GET", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Group).POST", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Group).PUT", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Group).PATCH", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/labstack/echo/v4.(*Group).DELETE", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gorilla/mux.NewRouter", Does::Makes), Syntax::Braces),
    (("github.com/gorilla/mux.(*Router).HandleFunc", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/gorilla/mux.(*Router).Handle", Does::TakesForNew(1)), Syntax::Braces),
    (("github.com/gofiber/fiber/v2.New", Does::Makes), Syntax::Colons),
    (("github.com/gofiber/fiber/v2.(*App).register", Does::TakesFor(3)), Syntax::Colons),
    (("github.com/gofiber/fiber/v2.(*App).Add", Does::TakesFor(3)), Syntax::Colons),
    (("github.com/gofiber/fiber/v2.(*App).Get", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gofiber/fiber/v2.(*App).Post", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gofiber/fiber/v2.(*App).Put", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gofiber/fiber/v2.(*App).Patch", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gofiber/fiber/v2.(*App).Delete", Does::TakesFor(1)), Syntax::Colons),
    (("github.com/gofiber/fiber/v2.(*App).All", Does::TakesFor(1)), Syntax::Colons),
];

/// Those of a process's program.
pub(super) fn routes(proc: &ProcFs, pid: ProcessId) -> Vec<ProgramRoute> {
    let doers: Vec<Doer> = DOERS.iter().map(|(doer, _)| *doer).collect();
    let given = texts(proc, pid, &doers).unwrap_or_default();
    in_order(given.iter().filter_map(|(text, which)| DOERS.get(*which)?.1.route(text)).collect())
}

/// In the order in which `ServeMux` prefers them, and others do mostly: who says more of a path goes before who says less.
fn in_order(mut routes: Vec<ProgramRoute>) -> Vec<ProgramRoute> {
    routes.sort_by_key(|route| {
        let values = route.parts.iter().filter(|part| !matches!(part, Part::Word(_))).count();
        (route.parts.contains(&Part::RestOrNone), Reverse(route.parts.len()), values)
    });
    routes
}

impl Syntax {
    fn route(self, pattern: &str) -> Option<ProgramRoute> {
        if self == Self::ServeMux {
            return of_serve_mux(pattern);
        }
        let segments: Vec<&str> = pattern.strip_prefix('/')?.split('/').collect();
        let (last, before) = segments.split_last()?;
        let mut parts = before.iter().map(|segment| self.part(segment)).collect::<Option<Vec<Part>>>()?;
        let is_rest = match self {
            Self::Colons => last.starts_with('*'),
            _ => *last == "*",
        };
        match *last {
            "" if before.is_empty() => parts.push(Part::Word(String::new())),
            "" => return None,
            _ if is_rest => parts.push(Part::RestOrNone),
            last => parts.push(self.part(last)?),
        }
        // What is for all paths may be a part of a router that is mounted somewhere else.
        matches!(parts.first(), Some(Part::Word(_))).then(|| ProgramRoute { text: pattern.to_owned(), parts })
    }

    fn part(self, segment: &str) -> Option<Part> {
        let name = match self {
            Self::Colons => segment.strip_prefix(':'),
            _ => segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')),
        };
        match name {
            Some(name) => {
                let (name, expression) = name.split_once(':').map_or((name, ""), |(name, rest)| (name, rest));
                (is_name(name) && !expression.contains(['{', '}'])).then_some(Part::Value)
            }
            None => {
                let is_word = !segment.is_empty() && !segment.contains(['{', '}', '*', ':', '+', '?']);
                is_word.then(|| Part::Word(segment.to_owned()))
            }
        }
    }
}

fn of_serve_mux(pattern: &str) -> Option<ProgramRoute> {
    let rest = match pattern.split_once([' ', '\t']) {
        None => pattern,
        Some((method, rest)) => {
            let is_method = !method.is_empty() && method.bytes().all(|letter| letter.is_ascii_alphabetic());
            is_method.then_some(rest.trim_start_matches([' ', '\t']))?
        }
    };
    let (host, path) = rest.split_at_checked(rest.find('/')?)?;
    if host.contains(['{', '}', ' ']) || path.contains([' ', '\t']) {
        return None;
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let (last, before) = segments.split_last()?;
    let mut parts = before.iter().map(|segment| part(segment)).collect::<Option<Vec<Part>>>()?;
    let name = |segment: &str| segment.strip_prefix('{').and_then(|rest| rest.strip_suffix("...}")).map(is_name);
    match *last {
        "" => return None,
        "{$}" => parts.push(Part::Word(String::new())),
        rest if name(rest) == Some(true) => parts.push(Part::RestOrNone),
        last => parts.push(part(last)?),
    }
    Some(ProgramRoute { text: path.to_owned(), parts })
}

fn part(segment: &str) -> Option<Part> {
    match segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        Some(name) => is_name(name).then_some(Part::Value),
        None => (!segment.is_empty() && !segment.contains(['{', '}'])).then(|| Part::Word(segment.to_owned())),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_are_routes_where_they_say_one() {
        let word = |text: &str| Part::Word(text.to_owned());
        for (pattern, expected) in [
            ("/items", Some(("/items", vec![word("items")]))),
            ("GET /items/{id}", Some(("/items/{id}", vec![word("items"), Part::Value]))),
            ("POST \texample.com/a/{b}/c", Some(("/a/{b}/c", vec![word("a"), Part::Value, word("c")]))),
            ("/files/{path...}", Some(("/files/{path...}", vec![word("files"), Part::RestOrNone]))),
            ("/items/{$}", Some(("/items/{$}", vec![word("items"), word("")]))),
            ("/{$}", Some(("/{$}", vec![word("")]))),
            ("/", None),
            ("/static/", None),
            ("/a//b", None),
            ("/a/x{id}", None),
            ("/a/{id", None),
            ("/{rest...}/more", None),
            ("items", None),
            ("no method /a", None),
            ("", None),
        ] {
            let route = Syntax::ServeMux.route(pattern).map(|route| (route.text, route.parts));
            let expected = expected.map(|(text, parts): (&str, _)| (text.to_owned(), parts));
            assert_eq!(route, expected, "{pattern:?}");
        }
    }

    #[test]
    fn who_says_more_goes_first() {
        let patterns = ["/a/{x}/c", "/{rest...}", "/a/b/c", "/a/{rest...}", "/{x}/b/{y}"].map(str::to_owned);
        let routes = patterns.iter().filter_map(|pattern| Syntax::ServeMux.route(pattern)).collect();
        let texts: Vec<String> = in_order(routes).into_iter().map(|route| route.text).collect();
        assert_eq!(texts, ["/a/b/c", "/a/{x}/c", "/{x}/b/{y}", "/a/{rest...}", "/{rest...}"]);
    }

    #[test]
    fn patterns_of_other_routers_are_in_their_own_words() {
        let word = |text: &str| Part::Word(text.to_owned());
        for (syntax, pattern, expected) in [
            (Syntax::Braces, "/items", Some(vec![word("items")])),
            (Syntax::Braces, "/", Some(vec![word("")])),
            (
                Syntax::Braces,
                "/items/{id}/p/{part:[0-9]+}",
                Some(vec![word("items"), Part::Value, word("p"), Part::Value]),
            ),
            (Syntax::Braces, "/files/*", Some(vec![word("files"), Part::RestOrNone])),
            (Syntax::Braces, "/a/{x:[0-9]{2}}", None),
            (Syntax::Braces, "/a/x-{y}", None),
            (Syntax::Braces, "/{id}", None),
            (Syntax::Braces, "/a/", None),
            (Syntax::Colons, "/items/:id/parts", Some(vec![word("items"), Part::Value, word("parts")])),
            (Syntax::Colons, "/files/*path", Some(vec![word("files"), Part::RestOrNone])),
            (Syntax::Colons, "/a/:id?", None),
            (Syntax::Colons, "/a/:x-:y", None),
            (Syntax::Colons, "/a/x:y", None),
            (Syntax::Colons, "a", None),
        ] {
            let route = syntax.route(pattern).map(|route| (route.text, route.parts));
            assert_eq!(route, expected.map(|parts| (pattern.to_owned(), parts)), "{pattern}");
        }
    }
}
