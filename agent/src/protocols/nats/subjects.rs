//! Subjects, and the subscriptions to them.

use std::collections::VecDeque;

use compact_str::CompactString;

/// Subscriptions that are known of a connection.
const SUBSCRIPTIONS_MAX: usize = 256;

/// Where clients ask for answers, unless they are told to do otherwise.
const INBOX: &str = "_INBOX.";

/// Whether a message is JetStream's, by the subject that it is to be acknowledged on.
pub(super) fn is_acknowledgement(subject: &str) -> bool {
    subject.starts_with("$JS.ACK.")
}

/// Whether it is a question to the server itself.
pub(super) fn is_of_server(subject: &str) -> bool {
    subject.starts_with("$JS.API.") || subject.starts_with("$SYS.") || subject.starts_with("$JS.FC.")
}

/// Whether it was made up for an answer.
pub(super) fn is_inbox(subject: &str) -> bool {
    subject.starts_with(INBOX)
}

/// Whether a subject is one of many: a part of it looks like a number or an id.
pub(super) fn varies(subject: &str) -> bool {
    const WORD_MAX: usize = 32;
    subject.split(['.', '/']).any(|part| part.len() > WORD_MAX || part.bytes().any(|byte| byte.is_ascii_digit()))
}

/// What a connection has subscribed to.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    all: VecDeque<Subscription>,
}

#[derive(Debug)]
struct Subscription {
    number: CompactString,
    subject: CompactString,
    group: Option<CompactString>,
}

impl Subscriptions {
    pub(super) fn add(&mut self, number: &str, subject: &str, group: Option<&str>) {
        self.remove(number);
        if self.all.len() >= SUBSCRIPTIONS_MAX {
            self.all.pop_front();
        }
        let (number, subject, group) = (number.into(), subject.into(), group.map(CompactString::new));
        self.all.push_back(Subscription { number, subject, group });
    }

    fn remove(&mut self, number: &str) {
        self.all.retain(|it| it.number != number);
    }

    /// The subject of one, and its group.
    pub(super) fn get(&self, number: &str) -> Option<(&str, Option<&CompactString>)> {
        let found = self.all.iter().find(|it| it.number == number);
        found.map(|it| (it.subject.as_str(), it.group.as_ref()))
    }

    /// Whether what is sent to a subject comes back to this connection.
    pub(super) fn has(&self, subject: &str) -> bool {
        self.all.iter().any(|it| is_match(&it.subject, subject))
    }

    /// Heap bytes held, about.
    pub(super) fn memory(&self) -> usize {
        let of = |it: &Subscription| size_of::<Subscription>() + it.subject.len() + it.number.len();
        self.all.iter().map(of).sum()
    }
}

fn is_match(pattern: &str, subject: &str) -> bool {
    let (mut pattern, mut subject) = (pattern.split('.'), subject.split('.'));
    loop {
        match (pattern.next(), subject.next()) {
            (Some(">"), Some(_)) | (None, None) => return true,
            (Some("*"), Some(_)) => {}
            (Some(one), Some(other)) if one == other => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subscriptions_may_be_to_many_subjects() {
        for (pattern, subject, is_it) in [
            ("a.b", "a.b", true),
            ("a.b", "a.b.c", false),
            ("a.*", "a.b", true),
            ("a.*", "a.b.c", false),
            ("a.>", "a.b.c", true),
            ("a.>", "a", false),
            (">", "a", true),
        ] {
            assert_eq!(is_match(pattern, subject), is_it, "{pattern} {subject}");
        }
        assert!(varies("orders.4711.paid") && varies("sensors/17") && !varies("orders.paid"));
    }
}
