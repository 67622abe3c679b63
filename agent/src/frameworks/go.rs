//! Patterns of Go's `net/http`, as a program's code hands them to `http.ServeMux`: `[METHOD ][HOST]/[PATH]`. Patterns that end with a slash are
//! for all that lies below, which mostly another router divides: what comes there is left to be learnt.

use std::cmp::Reverse;

use crate::{
    model::{
        ids::ProcessId,
        route::{Part, ProgramRoute},
    },
    procs::fs::ProcFs,
    runtimes::{Takes, texts},
};

/// Who takes a pattern. The last of them is what the others end in, which the compiler may have put in their place.
const TAKES: [Takes; 5] = [
    Takes { name: "net/http.Handle", argument: 0 },
    Takes { name: "net/http.HandleFunc", argument: 0 },
    Takes { name: "net/http.(*ServeMux).Handle", argument: 1 },
    Takes { name: "net/http.(*ServeMux).HandleFunc", argument: 1 },
    Takes { name: "net/http.(*ServeMux).register", argument: 1 },
];

/// Those of a process's program.
pub(super) fn routes(proc: &ProcFs, pid: ProcessId) -> Vec<ProgramRoute> {
    of_patterns(&texts(proc, pid, TAKES).unwrap_or_default())
}

/// In the order in which `ServeMux` prefers them: who says more of a path goes before who says less.
fn of_patterns(patterns: &[String]) -> Vec<ProgramRoute> {
    let mut routes: Vec<ProgramRoute> = patterns.iter().filter_map(|pattern| route(pattern)).collect();
    routes.sort_by_key(|route| {
        let values = route.parts.iter().filter(|part| !matches!(part, Part::Word(_))).count();
        (route.parts.contains(&Part::RestOrNone), Reverse(route.parts.len()), values)
    });
    routes
}

fn route(pattern: &str) -> Option<ProgramRoute> {
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
            let route = route(pattern).map(|route| (route.text, route.parts));
            let expected = expected.map(|(text, parts): (&str, _)| (text.to_owned(), parts));
            assert_eq!(route, expected, "{pattern:?}");
        }
    }

    #[test]
    fn who_says_more_goes_first() {
        let patterns = ["/a/{x}/c", "/{rest...}", "/a/b/c", "/a/{rest...}", "/{x}/b/{y}"].map(str::to_owned);
        let texts: Vec<String> = of_patterns(&patterns).into_iter().map(|route| route.text).collect();
        assert_eq!(texts, ["/a/b/c", "/a/{x}/c", "/{x}/b/{y}", "/a/{rest...}", "/{rest...}"]);
    }
}
