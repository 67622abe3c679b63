//! Numbers for names that cannot be known: the same for the same.
//!
//! Which of a block's unknown fields is the path is not always certain: `:path` and `:authority` may both be from
//! before our time. Then the fields that may be the path stand for it together, as a block has exactly one path. What
//! other blocks prove (a field beside a known path is none; a field that is the only candidate is one) narrows that
//! down without changing a number that was given out.

use std::collections::VecDeque;

use super::{head::Head, hpack::identity};

/// How many facts are remembered of each sort; the oldest go first.
const REMEMBERED: usize = 128;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct UnknownNames {
    /// Fields that are no path.
    not_path: VecDeque<u64>,
    /// Fields among which the path is, and the number that was given to it.
    given: VecDeque<(Vec<u64>, u64)>,
    /// Numbers of names that turned out to be gRPC methods.
    grpc: VecDeque<u64>,
}

impl UnknownNames {
    /// The number of a request's name, if method or path are unknown.
    pub(super) fn number(&mut self, head: &Head) -> Option<u64> {
        let candidates = head.unknown_pseudo();
        if head.http.target.is_some() {
            for &field in candidates {
                if !self.not_path.contains(&field) {
                    remember(&mut self.not_path, field);
                }
            }
        }
        if head.http.method.is_some() && (head.http.target.is_some() || head.is_tunnel()) {
            return None;
        }
        if head.http.method.is_none() || head.http.target.is_some() || candidates.is_empty() {
            return (!candidates.is_empty()).then(|| identity(&("request", &head.http.target, candidates)));
        }
        let left: Vec<u64> = candidates.iter().copied().filter(|field| !self.not_path.contains(field)).collect();
        if left.is_empty() {
            // A request with two paths misled us; its sender is broken.
            return Some(identity(&("request", candidates)));
        }
        // Whatever is a path for certain is the path of every block it is in.
        let same = |(fields, _): &&(Vec<u64>, u64)| match (left.as_slice(), fields.as_slice()) {
            ([path], fields) => fields.contains(path),
            (left, [path]) => left.contains(path),
            (left, fields) => left == fields,
        };
        let known = self.given.iter().find(same).map(|&(_, number)| number);
        let number = known.unwrap_or_else(|| identity(&("path", &left)));
        if !self.given.iter().any(|(fields, _)| *fields == left) {
            remember(&mut self.given, (left, number));
        }
        Some(number)
    }

    /// A name is that of a gRPC method.
    pub(super) fn set_grpc(&mut self, number: u64) {
        if !self.grpc.contains(&number) {
            remember(&mut self.grpc, number);
        }
    }

    /// Whether a name is known to be that of a gRPC method.
    pub(super) fn is_grpc(&self, number: u64) -> bool {
        self.grpc.contains(&number)
    }

    /// Heap bytes held, about.
    pub(super) fn memory(&self) -> usize {
        (self.not_path.capacity() + self.grpc.capacity()) * 8 + self.given.capacity() * 64
    }
}

fn remember<T>(facts: &mut VecDeque<T>, fact: T) {
    if facts.len() >= REMEMBERED {
        facts.pop_front();
    }
    facts.push_back(fact);
}

#[cfg(test)]
mod tests {
    use super::{super::hpack::Decoded, *};
    use crate::protocols::http::Field;

    /// A POST whose path and authority are given as text or as an unknown field.
    fn request(path: Result<&str, u64>, authority: Result<&str, u64>) -> Head {
        let mut head = Head::default();
        let fields = [(Field::Method, Ok("POST")), (Field::Scheme, Ok("http")), (Field::Path, path)];
        for (field, value) in fields.into_iter().chain([(Field::Authority, authority)]) {
            head.add(match value {
                Ok(value) => Decoded::Known { field, value: value.as_bytes(), cut: false },
                Err(id) => Decoded::Unknown(id),
            });
        }
        head
    }

    #[test]
    fn a_known_name_has_no_number() {
        let mut names = UnknownNames::default();
        assert_eq!(names.number(&request(Ok("/a"), Err(2))), None);
    }

    #[test]
    fn the_number_stays_when_the_authority_becomes_known() {
        let mut names = UnknownNames::default();
        let number = names.number(&request(Err(1), Err(2)));
        assert!(number.is_some());
        assert_eq!(names.number(&request(Err(1), Ok("host"))), number);
        assert_eq!(names.number(&request(Err(1), Err(3))), number, "1 is a path for certain now");
        assert_ne!(names.number(&request(Err(4), Err(2))), number);
    }

    #[test]
    fn the_authority_never_stands_for_the_path() {
        let mut names = UnknownNames::default();
        let first = names.number(&request(Err(1), Err(2)));
        let second = names.number(&request(Err(3), Err(2)));
        assert_ne!(first, second);
        assert_eq!(names.number(&request(Ok("/a"), Err(2))), None, "so 2 is no path");
        assert_eq!(names.number(&request(Err(1), Err(2))), first);
        assert_eq!(names.number(&request(Err(3), Err(2))), second);
    }

    #[test]
    fn a_field_beside_a_known_path_is_no_path() {
        let mut names = UnknownNames::default();
        assert_eq!(names.number(&request(Ok("/a"), Err(2))), None);
        let number = names.number(&request(Err(1), Err(2)));
        assert_eq!(names.number(&request(Err(1), Err(3))), number, "so 1 is one");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut names = UnknownNames::default();
        for id in 0..10_000 {
            names.number(&request(Err(id), Err(id + 1)));
            names.number(&request(Ok("/a"), Err(id + 2)));
            names.set_grpc(id);
        }
        assert!(names.memory() < 16 * 1024, "{}", names.memory());
        assert!(names.is_grpc(9999) && !names.is_grpc(0));
    }
}
