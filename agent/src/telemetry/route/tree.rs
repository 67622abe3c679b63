//! What is learnt of a service's paths: which words at a place are the program's own, and which are values.
//!
//! A place is open at first: each word has a branch. It is closed once its words are found to be values, as few of them come
//! twice or the same comes below each of them; their branches become one then, and what is unknown there is a value. Branches are
//! joined and never parted, and where there is no room any more nothing is learnt: paths that have shared a route share
//! one for ever.

use hashbrown::HashMap;

use super::lexical::REST;

/// Most places of one service's paths, some 200 bytes each: a client may ask for as many paths as it likes.
const PLACES_MAX: usize = 10_000;
/// By the share that a place has of all visits: how many words that came once or twice have to be there, and which share of these
/// (those that came twice count double) once, for them to be values. A place that is visited often shows soon what comes again, and it
/// is there that programs have most words of their own: of 200 such in random order as large a share is improbable.
const FEW_TWICE: [(f64, usize, f64); 4] =
    [(0.25, 60, 0.88), (0.10, 40, 0.85), (0.03, 20, 0.75), (f64::NEG_INFINITY, 10, 0.75)];
/// At twice as many words this share of all of them suffices.
const ONCE_OF_ALL: f64 = 0.6;
/// Fewer words that came once are values too, beside ten times as many visits by what looks like a value.
const AMONG_VALUES: usize = 3;
/// Words that came so often stay beside values.
const OFTEN: u32 = 3;
/// So many words with the same ones below them are values.
const ALIKE_MIN: usize = 8;
/// So many words have to be below each of them, and to be common.
const BELOW_MIN: usize = 3;
/// An open place is looked at again after so many visits.
const LOOK_EVERY: u32 = 64;
/// Fewer rare words are not joined where there is no room for all.
const RARE_MIN: usize = 4;

/// What was learnt of a service's paths.
#[derive(Debug, Default)]
pub(super) struct Tree {
    root: Place,
    places: usize,
    routes: usize,
    /// There was no room: what is unknown now stays so.
    is_full: bool,
}

/// A place in a path, with what comes after each of its words.
#[derive(Debug, Default)]
struct Place {
    words: HashMap<String, Place>,
    values: Option<Box<Place>>,
    /// What is not among its words is a value.
    is_closed: bool,
    visits: u32,
    /// A path ends here.
    is_end: bool,
}

/// How a tree grows.
#[derive(Clone, Copy)]
pub(super) struct Growth<'a> {
    /// Most words of one place; `None`: as the words come.
    pub(super) max_words: Option<usize>,
    /// What is written for a value.
    pub(super) placeholder: &'a str,
    /// Most routes.
    pub(super) max_routes: usize,
}

/// What became of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Learnt {
    /// Its route is written; the same template may come again.
    Route,
    /// Its route is written; words of it are values that are not remembered.
    OfValues,
    /// Its route is written; other templates have other routes than before.
    Changed,
    /// There is no room for it.
    NoRoom,
}

/// By what words are found to be values.
#[derive(Clone, Copy)]
struct Rules {
    max_words: Option<usize>,
    /// All visits there were.
    visits: u32,
}

impl Tree {
    /// Takes in so many visits of a template, of which what looks like a value is the placeholder already, and writes its route.
    pub(super) fn learn(&mut self, template: &str, visits: u32, growth: Growth<'_>, out: &mut String) -> Learnt {
        if self.is_full {
            return self.find(template, growth.placeholder, out).unwrap_or(Learnt::NoRoom);
        }
        out.clear();
        let (mut added, mut is_due, mut learnt) = (0, false, Learnt::Route);
        let mut place = &mut self.root;
        is_due |= place.visit(visits);
        for segment in segments(template) {
            let (next, is_word) = place.below(segment, growth.placeholder, &mut added);
            out.push('/');
            out.push_str(if is_word { segment } else { growth.placeholder });
            if !is_word && segment != growth.placeholder {
                learnt = Learnt::OfValues;
            }
            is_due |= next.visit(visits);
            place = next;
        }
        let is_new = !std::mem::replace(&mut place.is_end, true);
        self.places += added;
        self.routes += usize::from(is_new);
        if !(is_new || is_due || added > 0) {
            return learnt;
        }
        let rules = Rules { max_words: growth.max_words, visits: self.root.visits };
        let mut is_changed = self.root.settle(segments(template), rules);
        if is_changed {
            self.count();
        }
        if is_new && self.routes > growth.max_routes || self.places > PLACES_MAX {
            is_changed |= self.make_room(growth.max_routes);
            if self.routes > growth.max_routes || self.places > PLACES_MAX {
                self.is_full = true;
                self.forget_end(template, growth.placeholder);
                is_changed = true;
            }
        }
        if !is_changed {
            return learnt;
        }
        self.find(template, growth.placeholder, out).map_or(Learnt::NoRoom, |_| Learnt::Changed)
    }

    /// Writes the route of a template, if it has one.
    pub(super) fn find(&self, template: &str, placeholder: &str, out: &mut String) -> Option<Learnt> {
        out.clear();
        let mut place = &self.root;
        let mut learnt = Learnt::Route;
        for segment in segments(template) {
            out.push('/');
            place = match place.next(segment, placeholder) {
                Next::Word(place) => {
                    out.push_str(segment);
                    place
                }
                Next::Value(place) => {
                    out.push_str(placeholder);
                    if segment != placeholder {
                        learnt = Learnt::OfValues;
                    }
                    place
                }
                Next::Nothing => return None,
            };
        }
        place.is_end.then_some(learnt)
    }

    /// Joins rare words where there are most of them, until a quarter of the room is free.
    fn make_room(&mut self, max_routes: usize) -> bool {
        let mut is_changed = false;
        while self.routes > max_routes - max_routes / 4 || self.places > PLACES_MAX - PLACES_MAX / 4 {
            let rarest = self.root.most_rare();
            if rarest < RARE_MIN {
                break;
            }
            self.root.close_rare(rarest, Rules { max_words: None, visits: self.root.visits });
            self.count();
            is_changed = true;
        }
        is_changed
    }

    /// Takes back that a path ends where this one does, which nobody was told yet.
    fn forget_end(&mut self, template: &str, placeholder: &str) {
        let mut place = &mut self.root;
        for segment in segments(template) {
            let (words, values) = (&mut place.words, &mut place.values);
            let word = if segment == placeholder { None } else { words.get_mut(segment) };
            match word.or(values.as_deref_mut()) {
                Some(next) => place = next,
                None => return,
            }
        }
        place.is_end = false;
        self.count();
    }

    fn count(&mut self) {
        (self.places, self.routes) = self.root.size();
    }
}

/// Where a segment leads.
enum Next<'a> {
    Word(&'a Place),
    Value(&'a Place),
    Nothing,
}

impl Place {
    fn next(&self, segment: &str, placeholder: &str) -> Next<'_> {
        let is_placeholder = segment == placeholder;
        if !is_placeholder && let Some(place) = self.words.get(segment) {
            return Next::Word(place);
        }
        match &self.values {
            Some(place) if is_placeholder || self.is_closed && !is_fixed(segment) => Next::Value(place),
            _ => Next::Nothing,
        }
    }

    /// Counts visits. Whether it is to be looked at.
    const fn visit(&mut self, visits: u32) -> bool {
        let before = self.visits;
        self.visits = before.saturating_add(visits);
        !self.is_closed && self.visits / LOOK_EVERY != before / LOOK_EVERY
    }

    /// The place that a segment leads to, which may be new, and whether the segment is a word.
    fn below(&mut self, segment: &str, placeholder: &str, added: &mut usize) -> (&mut Self, bool) {
        let is_value =
            segment == placeholder || self.is_closed && !is_fixed(segment) && !self.words.contains_key(segment);
        if is_value {
            let values = self.values.get_or_insert_with(|| {
                *added += 1;
                Box::default()
            });
            return (values, false);
        }
        let word = self.words.entry_ref(segment).or_insert_with(|| {
            *added += 1;
            Self::default()
        });
        (word, true)
    }

    /// Closes what has turned out to hold values, along a path.
    fn settle<'a>(&mut self, mut rest: impl Iterator<Item = &'a str>, rules: Rules) -> bool {
        let mut is_changed = self.look(rules);
        if let Some(segment) = rest.next()
            && let Some(next) = self.words.get_mut(segment).or(self.values.as_deref_mut())
        {
            is_changed |= next.settle(rest, rules);
        }
        is_changed
    }

    /// Closes the place if its words are values.
    fn look(&mut self, rules: Rules) -> bool {
        if self.is_closed {
            return false;
        }
        if let Some(max_words) = rules.max_words {
            let is_over = self.words.keys().filter(|word| !is_fixed(word)).count() > max_words;
            if is_over {
                self.close(|_| false, rules);
            }
            return is_over;
        }
        if self.come_once(rules.visits) {
            self.close(|place| place.visits >= OFTEN, rules);
            return true;
        }
        let common = self.common_below();
        if common.len() < BELOW_MIN {
            return false;
        }
        let common: Vec<String> = common.into_iter().map(str::to_owned).collect();
        self.close(|place| place.visits >= OFTEN && !place.is_like(&common), rules);
        true
    }

    /// Whether too few of its words came again.
    fn come_once(&self, all_visits: u32) -> bool {
        let (mut once, mut twice) = (0, 0);
        for (_, place) in self.words.iter().filter(|(word, _)| !is_fixed(word)) {
            once += usize::from(place.visits == 1);
            twice += usize::from(place.visits == 2);
        }
        let share = f64::from(self.visits) / f64::from(all_visits.max(1));
        let Some((_, many, least)) = FEW_TWICE.into_iter().find(|(from, ..)| share >= *from) else { return false };
        let once_share = once as f64 / ((once + 2 * twice).max(1)) as f64;
        let values = self.values.as_ref().map_or(0, |place| place.visits as usize);
        once_share >= least && (once + twice >= many || once >= AMONG_VALUES && values >= 10 * once)
            || once + twice >= 2 * many && once as f64 >= ONCE_OF_ALL * self.words.len() as f64
    }

    /// Words that come below half of those of its words that have some below them, where there is little else.
    fn common_below(&self) -> Vec<&str> {
        if self.words.len() < ALIKE_MIN {
            return Vec::new();
        }
        let mut by_word: HashMap<&str, usize> = HashMap::new();
        let mut siblings = 0;
        for place in self.words.values().filter(|place| place.own_words().nth(BELOW_MIN - 1).is_some()) {
            siblings += 1;
            place.own_words().for_each(|word| *by_word.entry(word).or_default() += 1);
        }
        let all: usize = by_word.values().sum();
        by_word.retain(|_, count| 2 * *count >= siblings);
        let common: usize = by_word.values().sum();
        if siblings < ALIKE_MIN || 10 * common < 7 * all { Vec::new() } else { by_word.into_keys().collect() }
    }

    fn own_words(&self) -> impl Iterator<Item = &str> {
        self.words.keys().map(String::as_str).filter(|word| !is_fixed(word) && !is_version(word))
    }

    fn is_like(&self, common: &[String]) -> bool {
        let (mut all, mut shared) = (0, 0);
        for word in self.own_words() {
            all += 1;
            shared += usize::from(common.iter().any(|its| its == word));
        }
        2 * shared > all
    }

    /// From now on what is not kept is a value.
    fn close(&mut self, is_kept: impl Fn(&Self) -> bool, rules: Rules) {
        self.is_closed = true;
        let values = self.values.get_or_insert_default();
        for (_, place) in self.words.extract_if(|word, place| !is_fixed(word) && !is_kept(place)) {
            values.join(place);
        }
        values.look_below(rules);
    }

    fn look_below(&mut self, rules: Rules) {
        self.look(rules);
        self.words.values_mut().chain(self.values.as_deref_mut()).for_each(|place| place.look_below(rules));
    }

    /// Makes one of two places. A word is kept if it is one in both, as far as they are closed.
    fn join(&mut self, mut other: Self) {
        self.visits = self.visits.saturating_add(other.visits);
        self.is_end |= other.is_end;
        let mut values: Vec<Self> = other.values.take().map(|place| *place).into_iter().collect();
        if other.is_closed {
            let is_kept = |word: &str| is_fixed(word) || other.words.contains_key(word);
            values.extend(self.words.extract_if(|word, _| !is_kept(word)).map(|(_, place)| place));
        }
        for (word, place) in other.words.drain() {
            match self.words.get_mut(&word) {
                Some(known) => known.join(place),
                None if self.is_closed && !is_fixed(&word) => values.push(place),
                None => {
                    self.words.insert(word, place);
                }
            }
        }
        self.is_closed |= other.is_closed;
        for place in values {
            self.values.get_or_insert_default().join(place);
        }
    }

    /// Most rare words of a place.
    fn most_rare(&self) -> usize {
        let below = self.words.values().chain(self.values.as_deref()).map(Self::most_rare).max().unwrap_or_default();
        below.max(if self.is_closed { 0 } else { self.rare() })
    }

    fn rare(&self) -> usize {
        self.words.iter().filter(|(word, place)| !is_fixed(word) && place.visits < OFTEN).count()
    }

    /// Closes places with so many rare words.
    fn close_rare(&mut self, rarest: usize, rules: Rules) {
        if !self.is_closed && self.rare() >= rarest {
            self.close(|place| place.visits >= OFTEN, rules);
        }
        self.words.values_mut().chain(self.values.as_deref_mut()).for_each(|place| place.close_rare(rarest, rules));
    }

    /// The number of places below it, and of paths that end there or below.
    fn size(&self) -> (usize, usize) {
        let below = self.words.values().chain(self.values.as_deref());
        let own = (0, usize::from(self.is_end));
        below.map(Self::size).fold(own, |(places, ends), (its, below)| (places + its + 1, ends + below))
    }
}

fn segments(template: &str) -> impl Iterator<Item = &str> {
    template.split('/').skip(1)
}

/// What is never a value: the end of `/a/`, and the rest of a path that is too long.
fn is_fixed(word: &str) -> bool {
    word.is_empty() || word == REST.trim_start_matches('/')
}

/// `v1`, `v2beta1`: below many words, and no sign that these are values.
fn is_version(word: &str) -> bool {
    word.strip_prefix('v').is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GROWTH: Growth<'static> = Growth { max_words: None, placeholder: "*", max_routes: 1000 };

    fn learn(tree: &mut Tree, path: &str, growth: Growth<'_>) -> Option<String> {
        let mut out = String::new();
        (tree.learn(path, 1, growth, &mut out) != Learnt::NoRoom).then_some(out)
    }

    fn find(tree: &Tree, path: &str) -> Option<String> {
        let mut out = String::new();
        tree.find(path, "*", &mut out).map(|_| out)
    }

    #[test]
    fn a_place_with_too_many_words_holds_values_and_others_stay() {
        let mut tree = Tree::default();
        let growth = Growth { max_words: Some(3), ..GROWTH };
        for (path, expected) in [
            ("/shop/anna/cart", "/shop/anna/cart"),
            ("/shop/berta/cart", "/shop/berta/cart"),
            ("/shop/clara/cart", "/shop/clara/cart"),
            ("/shop/dora/cart", "/shop/*/cart"),
            ("/shop/anna/cart", "/shop/*/cart"),
            ("/health", "/health"),
            ("/shop/anna/orders/*", "/shop/*/orders/*"),
            ("/shop/", "/shop/"),
            ("/", "/"),
        ] {
            assert_eq!(learn(&mut tree, path, growth).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_never_comes_again_is_a_value_and_what_does_stays() {
        let mut tree = Tree::default();
        for number in 0..200 {
            learn(&mut tree, "/posts/search", GROWTH);
            learn(&mut tree, &format!("/posts/my-post-{}", word(number)), GROWTH);
            learn(&mut tree, &format!("/posts/my-post-{}/comments", word(number + 1000)), GROWTH);
            // Words of the program's own, each again and again.
            learn(&mut tree, &format!("/admin/{}", word(number * number % 71)), GROWTH);
        }
        assert_eq!(find(&tree, "/posts/search").as_deref(), Some("/posts/search"));
        assert_eq!(find(&tree, "/posts/another").as_deref(), Some("/posts/*"));
        assert_eq!(find(&tree, "/posts/another/comments").as_deref(), Some("/posts/*/comments"));
        assert_eq!(find(&tree, "/posts/another/secrets"), None);
        assert_eq!(find(&tree, &format!("/admin/{}", word(4))), Some(format!("/admin/{}", word(4))));
        assert_eq!(tree.routes, 36 + 3);
    }

    #[test]
    fn words_with_the_same_below_them_are_values_however_often_they_come() {
        let mut tree = Tree::default();
        for round in 0..20 {
            for (number, below) in (0..10).flat_map(|number| ["pods", "secrets", "jobs"].map(|below| (number, below))) {
                learn(&mut tree, &format!("/namespaces/{}/{below}/*", word(number)), GROWTH);
                learn(&mut tree, &format!("/apis/{}/v1/{}-{round}", word(number), word(number)), GROWTH);
            }
        }
        assert_eq!(find(&tree, "/namespaces/new/pods/*").as_deref(), Some("/namespaces/*/pods/*"));
        assert_eq!(find(&tree, "/apis/new/v1/x"), None);
    }

    #[test]
    fn where_there_is_no_room_the_rare_are_joined_and_then_nothing_is_learnt() {
        let mut tree = Tree::default();
        let growth = Growth { max_routes: 20, ..GROWTH };
        let often = |tree: &mut Tree| (0..5).for_each(|_| drop(learn(tree, "/often", growth)));
        often(&mut tree);
        for number in 0..30 {
            let route = learn(&mut tree, &format!("/u/{}", word(number)), growth);
            assert_eq!(route.as_deref() == Some("/u/*"), number >= 19, "{route:?}");
        }
        assert_eq!(find(&tree, "/often").as_deref(), Some("/often"));
        for number in 0..40 {
            (0..5).for_each(|_| drop(learn(&mut tree, &format!("/{}/x", word(number)), growth)));
        }
        assert!(tree.is_full && tree.routes == 20, "{}", tree.routes);
        assert_eq!(learn(&mut tree, "/new/x", growth), None);
        assert_eq!(learn(&mut tree, "/u/new", growth).as_deref(), Some("/u/*"));
    }

    #[test]
    fn what_is_learnt_is_bounded() {
        let mut tree = Tree::default();
        let growth = Growth { max_words: Some(50), max_routes: usize::MAX, ..GROWTH };
        for number in 0..30_000_usize {
            let path = format!("/{}/{}/{}", word(number % 26), word(number / 26 % 26), word(number / 676));
            learn(&mut tree, &path, growth);
            assert!(tree.places <= PLACES_MAX + 3, "{number}: {}", tree.places);
        }
        assert_eq!(tree.root.size(), (tree.places, tree.routes));
    }

    /// A word without digits.
    fn word(mut number: usize) -> String {
        let mut word = String::from("w");
        for _ in 0..3 {
            word.push((b'a' + (number % 26) as u8) as char);
            number /= 26;
        }
        word
    }

    proptest! {
        // What is asked for has few words at some places and many at others, and there is room for some of it only.
        #[test]
        fn paths_that_have_shared_a_route_always_do(
            asked in proptest::collection::vec(
                proptest::collection::vec(prop_oneof![4 => 0..4_usize, 2 => 0..400_usize, 1 => Just(usize::MAX)], 1..5),
                1..400,
            ),
            max_words in prop_oneof![Just(None), Just(Some(3)), Just(Some(10))],
            max_routes in 5..120_usize,
        ) {
            let growth = Growth { max_words, placeholder: "*", max_routes };
            let path_of = |numbers: &Vec<usize>| {
                numbers.iter().fold(String::new(), |path, number| match *number {
                    usize::MAX => path + "/*",
                    number => path + "/" + &word(number),
                })
            };
            let paths: Vec<String> = asked.iter().map(path_of).collect();
            let mut tree = Tree::default();
            let mut shared: HashMap<String, String> = HashMap::new();
            let mut before: Vec<(usize, String)> = Vec::new();
            for (at, path) in paths.iter().enumerate() {
                let route = learn(&mut tree, path, growth).unwrap_or_else(|| REST.into());
                prop_assert!(tree.routes <= max_routes);
                before.push((at, route));
                if at % 16 == 15 || at + 1 == paths.len() {
                    // What each had when it was asked for last leads to one route now.
                    shared.clear();
                    for (at, route) in &mut before {
                        let now = find(&tree, &paths[*at]).unwrap_or_else(|| REST.into());
                        let known = shared.entry(route.clone()).or_insert_with(|| now.clone());
                        prop_assert_eq!(&*known, &now, "{} had {}", &paths[*at], route);
                        *route = now;
                    }
                }
            }
        }
    }
}
