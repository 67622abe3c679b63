//! Header fields that are captured because the configuration asks for them: names of them as small numbers, as the dynamic tables of
//! HTTP/2 keep them. Names are learnt as they come, and stay for as long as the program runs; there are few.

use std::sync::{
    PoisonError, RwLock,
    atomic::{AtomicBool, Ordering},
};

use compact_str::CompactString;

use super::propagation::key;

/// Most names.
const NAMES_MAX: usize = 128;
/// Longest name.
const NAME_MAX: usize = 64;
/// Most values of a message.
pub(crate) const VALUES_MAX: usize = 32;
/// Most bytes of a value.
pub(crate) const VALUE_MAX: usize = 512;

/// What is done about a field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Captured {
    /// It is told.
    Told,
    /// This is told in place of its values.
    Hidden(&'static str),
}

/// Says what is done about the field of a name (lower case) in requests, and in responses.
pub(crate) type Rules = Box<dyn Fn(&str) -> [Option<Captured>; 2] + Send + Sync>;

/// Values of captured fields, each with its name's number.
pub(crate) type Values = Vec<(u8, CompactString)>;

/// Captured fields of an exchange.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// Of the request.
    pub request: Values,
    /// Of the response.
    pub response: Values,
}

/// A name that was met.
struct Name {
    name: Box<[u8]>,
    keys: [&'static str; 2],
    captured: [Option<Captured>; 2],
}

#[derive(Default)]
struct Registry {
    rules: Option<Rules>,
    names: Vec<Name>,
}

/// Nothing is looked up while nothing is captured.
static ANY: AtomicBool = AtomicBool::new(false);
static REGISTRY: RwLock<Registry> = RwLock::new(Registry { rules: None, names: Vec::new() });

/// What is captured from now on; `None`: nothing.
pub(crate) fn set(rules: Option<Rules>) {
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    for name in &mut registry.names {
        name.captured = [None; 2];
    }
    if let Some(rules) = &rules {
        for name in &mut registry.names {
            name.captured = str::from_utf8(&name.name).map_or([None; 2], rules);
        }
    }
    ANY.store(rules.is_some(), Ordering::Relaxed);
    registry.rules = rules;
}

/// Whether any are.
#[inline]
#[must_use]
pub(crate) fn any() -> bool {
    ANY.load(Ordering::Relaxed)
}

/// The number of a name, if fields of it are captured.
#[must_use]
pub(crate) fn find(name: &[u8]) -> Option<u8> {
    if !any() || name.is_empty() || name.len() > NAME_MAX {
        return None;
    }
    let lower: Box<[u8]> = name.to_ascii_lowercase().into();
    {
        let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = registry.names.iter().position(|known| known.name == lower) {
            let is_captured = registry.names.get(at)?.captured != [None; 2];
            return u8::try_from(at).ok().filter(|_| is_captured);
        }
        let is_token = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let text = str::from_utf8(&lower).ok().filter(|_| lower.iter().all(is_token))?;
        if registry.names.len() >= NAMES_MAX || registry.rules.as_ref()?(text) == [None; 2] {
            return None;
        }
    }
    let mut registry = REGISTRY.write().unwrap_or_else(PoisonError::into_inner);
    if let Some(at) = registry.names.iter().position(|known| known.name == lower) {
        return u8::try_from(at).ok();
    }
    let text = str::from_utf8(&lower).ok()?;
    let captured = registry.rules.as_ref()?(text);
    let keys = ["http.request.header.", "http.response.header."].map(|prefix| key(&format!("{prefix}{text}")));
    registry.names.push(Name { name: lower, keys, captured });
    u8::try_from(registry.names.len() - 1).ok()
}

/// The number and the value of a line of HTTP/1, if fields of its name are captured.
#[must_use]
pub(crate) fn of_line(line: &[u8]) -> Option<(u8, &[u8])> {
    let (name, value) = line.split_at_checked(memchr::memchr(b':', line)?)?;
    Some((find(name)?, value.get(1..)?.trim_ascii()))
}

/// Attributes for values of requests, or of responses: each name once, with all of its values.
pub(crate) fn attributes(values: Values, is_response: bool, mut tell: impl FnMut(&'static str, Vec<CompactString>)) {
    if values.is_empty() {
        return;
    }
    let registry = REGISTRY.read().unwrap_or_else(PoisonError::into_inner);
    let side = usize::from(is_response);
    let mut left = values;
    while let Some((number, _)) = left.first() {
        let number = *number;
        let (of_it, others): (Values, Values) = left.into_iter().partition(|(its, _)| *its == number);
        left = others;
        let Some(name) = registry.names.get(usize::from(number)) else { continue };
        let (Some(key), Some(captured)) = (name.keys.get(side), name.captured.get(side).copied().flatten()) else {
            continue;
        };
        let shown = |(_, value): (u8, CompactString)| match captured {
            Captured::Told => value,
            Captured::Hidden(instead) => CompactString::const_new(instead),
        };
        tell(key, of_it.into_iter().map(shown).collect());
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::{Mutex, MutexGuard};

    use super::*;

    /// Tests share the registry.
    static ALONE: Mutex<()> = Mutex::new(());

    /// While it is there fields of this name are captured.
    pub(crate) struct Asked(#[expect(dead_code, reason = "it is held")] MutexGuard<'static, ()>);

    pub(crate) fn asked(name: &'static str) -> Asked {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        set(Some(Box::new(move |its| [(its == name).then_some(Captured::Told); 2])));
        Asked(alone)
    }

    impl Drop for Asked {
        fn drop(&mut self) {
            set(None);
        }
    }

    #[test]
    fn names_are_learnt_where_rules_ask_for_them() {
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        assert_eq!((any(), find(b"x-tenant")), (false, None));
        set(Some(Box::new(|name| match name {
            "x-tenant" => [Some(Captured::Told), None],
            "x-key" => [Some(Captured::Hidden("***")); 2],
            _ => [None; 2],
        })));
        let tenant = find(b"X-Tenant").unwrap();
        assert_eq!(find(b"x-tenant"), Some(tenant));
        assert_eq!((find(b"accept"), find(b"x tenant"), find(b"")), (None, None, None));
        assert_eq!(of_line(b"X-Tenant:  a "), Some((tenant, &b"a"[..])));
        let secret = find(b"x-key").unwrap();
        let mut told = Vec::new();
        let values = || vec![(tenant, "a".into()), (secret, "s".into()), (tenant, "b".into())];
        attributes(values(), false, |key, values| told.push((key, values)));
        assert_eq!(
            told,
            [
                ("http.request.header.x-tenant", vec!["a".into(), "b".into()]),
                ("http.request.header.x-key", vec!["***".into()])
            ] as [(&str, Vec<CompactString>); 2]
        );
        told.clear();
        attributes(values(), true, |key, values| told.push((key, values)));
        assert_eq!(told, [("http.response.header.x-key", vec![CompactString::from("***")])]);
        set(None);
        assert_eq!(find(b"x-tenant"), None);
    }
}
