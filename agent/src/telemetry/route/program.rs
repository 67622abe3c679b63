//! Routes that a program's own files tell: the first, in the order of its framework, that a path is of.

use std::sync::Arc;

use hashbrown::HashMap;

use crate::model::route::{Part, ProgramRoute};

/// A program's routes, by their parts.
#[derive(Debug, Default)]
pub(crate) struct ProgramRoutes {
    root: Place,
}

#[derive(Debug, Default)]
struct Place {
    words: HashMap<String, Place>,
    number: Option<Box<Place>>,
    value: Option<Box<Place>>,
    /// Those that end here, take one segment more at least, or any number: which of the program's it is.
    end: Option<Route>,
    rest: Option<Route>,
    rest_or_none: Option<Route>,
}

type Route = (usize, Arc<str>);

impl ProgramRoutes {
    /// Those of a program, in its order.
    pub(crate) fn new(routes: &[ProgramRoute]) -> Self {
        let mut all = Self::default();
        for (at, route) in routes.iter().enumerate() {
            let mut place = &mut all.root;
            let ends = |place: &mut Option<Route>| {
                place.get_or_insert_with(|| (at, Arc::from(route.text.as_str())));
            };
            let mut is_over = false;
            for part in &route.parts {
                match part {
                    Part::Word(word) => place = place.words.entry_ref(word.as_str()).or_default(),
                    Part::Number => place = place.number.get_or_insert_default(),
                    Part::Value => place = place.value.get_or_insert_default(),
                    Part::Rest => {
                        ends(&mut place.rest);
                        is_over = true;
                    }
                    Part::RestOrNone => {
                        ends(&mut place.rest_or_none);
                        is_over = true;
                    }
                }
            }
            if !is_over {
                ends(&mut place.end);
            }
        }
        all
    }

    /// The route of a path.
    pub(crate) fn find(&self, path: &str) -> Option<Arc<str>> {
        let path = path.strip_prefix('/')?;
        let mut best: Option<&Route> = None;
        let mut left = STEPS_MAX;
        self.root.find(Some(path), &mut best, &mut left);
        best.map(|(_, route)| Arc::clone(route))
    }
}

/// Places that are looked at for one path: values and words of many routes could multiply.
const STEPS_MAX: u32 = 500;

impl Place {
    fn find<'a>(&'a self, path: Option<&str>, best: &mut Option<&'a Route>, left: &mut u32) {
        let Some(fewer) = left.checked_sub(1) else { return };
        *left = fewer;
        let mut take = |route: &'a Option<Route>| {
            if let Some(route) = route
                && best.is_none_or(|(at, _)| route.0 < *at)
            {
                *best = Some(route);
            }
        };
        take(&self.rest_or_none);
        let Some(path) = path else { return take(&self.end) };
        if !path.is_empty() {
            take(&self.rest);
        }
        let (segment, rest) = path.split_once('/').map_or((path, None), |(segment, rest)| (segment, Some(rest)));
        if let Some(place) = self.words.get(segment) {
            place.find(rest, best, left);
        }
        if segment.is_empty() {
            return;
        }
        if let Some(place) = &self.number
            && segment.bytes().all(|byte| byte.is_ascii_digit())
        {
            place.find(rest, best, left);
        }
        if let Some(place) = &self.value {
            place.find(rest, best, left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_program_is_taken() {
        let word = |text: &str| Part::Word(text.to_owned());
        let route = |text: &str, parts: Vec<Part>| ProgramRoute { text: text.to_owned(), parts };
        let routes = ProgramRoutes::new(&[
            route("/", vec![word("")]),
            route("/users/me", vec![word("users"), word("me")]),
            route("/users/<int:id>", vec![word("users"), Part::Number]),
            route("/users/<name>", vec![word("users"), Part::Value]),
            route("/users/late", vec![word("users"), word("late")]),
            route("/files/<path:p>", vec![word("files"), Part::Rest]),
            route("/docs/**", vec![word("docs"), Part::RestOrNone]),
        ]);
        for (path, expected) in [
            ("/", Some("/")),
            ("/users/me", Some("/users/me")),
            ("/users/7", Some("/users/<int:id>")),
            ("/users/x7", Some("/users/<name>")),
            ("/users/late", Some("/users/<name>")),
            ("/users/", None),
            ("/users/me/x", None),
            ("/files/a/b", Some("/files/<path:p>")),
            ("/files/", None),
            ("/files", None),
            ("/docs", Some("/docs/**")),
            ("/docs/a/b", Some("/docs/**")),
            ("x", None),
        ] {
            assert_eq!(routes.find(path).as_deref(), expected, "{path}");
        }
    }
}
