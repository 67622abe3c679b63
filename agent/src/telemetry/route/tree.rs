//! Paths of one service, learnt: where one place has held too many different words, it holds values.

use hashbrown::HashMap;

use super::{MAX_BYTES, MAX_SEGMENTS, OVERFLOW, is_value};

/// Most places of one service's paths, some 200 bytes each: a client may ask for as many paths as it likes.
const PLACES_MAX: usize = 10_000;

/// What was learnt of a service's paths.
#[derive(Debug, Default)]
pub(super) struct Tree {
    root: Place,
    places: usize,
}

/// A place in a path, with what comes after each of its words.
#[derive(Debug, Default)]
struct Place {
    words: HashMap<String, Place>,
    /// Everything is a value here; the one entry of `words` is the empty one.
    holds_values: bool,
}

/// How a tree grows.
#[derive(Clone, Copy)]
pub(super) struct Growth<'a> {
    /// Different words of one place.
    pub(super) max_words: usize,
    /// What is written for a value.
    pub(super) placeholder: &'a str,
    /// Whether what is new is learnt.
    pub(super) learns: bool,
}

impl Tree {
    /// Writes the template of `path` to `out`. `false` if it is new and nothing may be learnt.
    pub(super) fn template(&mut self, path: &str, growth: Growth<'_>, out: &mut String) -> bool {
        out.clear();
        let places = &mut self.places;
        let mut place = &mut self.root;
        for (at, segment) in path.split('/').skip(1).enumerate() {
            let segment = segment.split(';').next().unwrap_or_default();
            if at == MAX_SEGMENTS || out.len() + 1 + segment.len() + OVERFLOW.len() > MAX_BYTES {
                out.push_str(OVERFLOW);
                return true;
            }
            let looks_like_value = is_value(segment.as_bytes());
            if !place.holds_values && !looks_like_value && !place.words.contains_key(segment) {
                if !growth.learns {
                    return false;
                }
                if place.words.len() >= growth.max_words {
                    // What was learnt below its words is given up: it is learnt anew, together.
                    *places -= place.size();
                    place.words.clear();
                    place.holds_values = true;
                }
            }
            let is_known_word = !place.holds_values && !looks_like_value;
            let word = if is_known_word { segment } else { "" };
            out.push('/');
            out.push_str(if is_known_word || segment.is_empty() { segment } else { growth.placeholder });
            if !place.words.contains_key(word) {
                if !growth.learns {
                    return false;
                }
                if *places >= PLACES_MAX {
                    out.clear();
                    out.push_str(OVERFLOW);
                    return true;
                }
                *places += 1;
            }
            place = place.words.entry_ref(word).or_default();
        }
        true
    }
}

impl Place {
    /// The number of places below it.
    fn size(&self) -> usize {
        self.words.values().map(|place| 1 + place.size()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(tree: &mut Tree, path: &str, learns: bool) -> Option<String> {
        let mut out = String::new();
        tree.template(path, Growth { max_words: 3, placeholder: "*", learns }, &mut out).then_some(out)
    }

    #[test]
    fn a_place_with_too_many_words_holds_values_and_others_stay() {
        let mut tree = Tree::default();
        for (path, expected) in [
            ("/shop/anna/cart", "/shop/anna/cart"),
            ("/shop/berta/cart", "/shop/berta/cart"),
            ("/shop/clara/cart", "/shop/clara/cart"),
            ("/shop/dora/cart", "/shop/*/cart"),
            ("/shop/anna/cart", "/shop/*/cart"),
            ("/health", "/health"),
            ("/shop/anna/orders/17", "/shop/*/orders/*"),
            ("/", "/"),
        ] {
            assert_eq!(template(&mut tree, path, true).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn what_may_not_be_learnt_has_no_template_unless_it_is_known() {
        let mut tree = Tree::default();
        assert_eq!(template(&mut tree, "/admin.php", false), None);
        assert_eq!(template(&mut tree, "/a/1", true).as_deref(), Some("/a/*"));
        assert_eq!(template(&mut tree, "/a/2", false).as_deref(), Some("/a/*"));
        assert_eq!(template(&mut tree, "/a/2/x", false), None);
    }

    #[test]
    fn a_tree_is_bounded_in_width_and_depth() {
        let mut tree = Tree::default();
        let long = "/x".repeat(100);
        assert_eq!(template(&mut tree, &long, true).as_deref(), Some(format!("{}/*", "/x".repeat(10)).as_str()));
        for letter in 'a'..='z' {
            template(&mut tree, &format!("/{letter}"), true);
        }
        assert_eq!(tree.root.words.len(), 1);
    }

    #[test]
    fn what_is_learnt_is_bounded() {
        let mut tree = Tree::default();
        let mut out = String::new();
        let growth = Growth { max_words: 50, placeholder: "*", learns: true };
        let mut overflowed = 0;
        for number in 0..30_000_usize {
            let word = |number: usize| format!("w{}", (b'a' + (number % 26) as u8) as char);
            let path = format!("/{}/{}/{}", word(number), word(number / 26), word(number / 676));
            assert!(tree.template(&path, growth, &mut out));
            overflowed += usize::from(out == OVERFLOW);
        }
        assert!(overflowed > 0);
        assert_eq!((tree.places, tree.root.size()), (PLACES_MAX, PLACES_MAX));
    }
}
