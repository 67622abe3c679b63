//! Programs that webpack has put into one file (`nest build --webpack`): what its modules load from outside stands in modules of their own, which
//! others name by a number or a path.

use std::collections::HashMap;

use super::tokens::{Token, within};

const MODULES: &str = "__webpack_modules__";
const LOAD: &str = "__webpack_require__";

/// How a module is named within the bundle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    Number(u32),
    Path(String),
}

impl Key {
    fn of(token: &Token) -> Option<Self> {
        match token {
            Token::Number(number) => Some(Self::Number(*number)),
            Token::Text(Some(path)) => Some(Self::Path(path.clone())),
            _ => None,
        }
    }
}

/// Writes `require("…")` where a bundle loads what is outside of it; other sources stay as they are.
pub(super) fn unbundled(mut tokens: Vec<Token>) -> Vec<Token> {
    let outside = outside(&tokens);
    if outside.is_empty() {
        return tokens;
    }
    for at in 0..tokens.len() {
        let path = match tokens.get(at..) {
            Some([Token::Name(load), Token::Operator('('), key, Token::Operator(')'), ..]) if load == LOAD => {
                Key::of(key).and_then(|key| outside.get(&key))
            }
            _ => None,
        };
        if let (Some(path), Some([load, _, key, ..])) = (path, tokens.get_mut(at..)) {
            *load = Token::Name("require".to_owned());
            *key = Token::Text(Some(path.clone()));
        }
    }
    tokens
}

/// Modules that only hand on what is outside.
fn outside(tokens: &[Token]) -> HashMap<Key, String> {
    let begins = |at: &usize| matches!(tokens.get(*at..), Some([Token::Name(name), Token::Operator('='), ..]) if name == MODULES);
    let Some(mut open) = (0..tokens.len()).find(begins).map(|at| at + 2) else { return HashMap::new() };
    // `= ([…])`, `= ({…})`
    if tokens.get(open) == Some(&Token::Operator('(')) {
        open += 1;
    }
    let is_list = match tokens.get(open) {
        Some(Token::Operator('[')) => true,
        Some(Token::Operator('{')) => false,
        _ => return HashMap::new(),
    };
    let (modules, _) = within(tokens, open);
    let mut found = HashMap::new();
    let mut number = 0;
    for module in elements(modules) {
        let key = if is_list { Some(Key::Number(number)) } else { module.first().and_then(Key::of) };
        number = number.saturating_add(1);
        if let (Some(key), Some(path)) = (key, handed_on(module)) {
            found.insert(key, path);
        }
    }
    found
}

/// What stands between commas, empty places too: modules of a list are named by their place.
fn elements(tokens: &[Token]) -> Vec<&[Token]> {
    let (mut elements, mut from, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Operator('(' | '[' | '{') => depth += 1,
            Token::Operator(')' | ']' | '}') => depth = depth.saturating_sub(1),
            Token::Operator(',') if depth == 0 => {
                elements.push(tokens.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    elements.push(tokens.get(from..).unwrap_or_default());
    elements
}

/// `module.exports = require("…")`
fn handed_on(module: &[Token]) -> Option<String> {
    let is = |token: &Token, name: &str| matches!(token, Token::Name(its) if its == name);
    module.windows(8).find_map(|tokens| match tokens {
        [
            whole,
            Token::Operator('.'),
            exports,
            Token::Operator('='),
            require,
            Token::Operator('('),
            Token::Text(Some(path)),
            Token::Operator(')'),
        ] if is(whole, "module") && is(exports, "exports") && is(require, "require") => Some(path.clone()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::javascript::tokens, *};

    #[test]
    fn what_a_bundle_loads_from_outside_is_named_as_it_was_written() {
        let expected = tokens("const a = require('@nestjs/common'); const b = __webpack_require__(3);");
        for modules in [
            "([\n/* 0 */,\n/* 1 */\n((module) => { module.exports = require('@nestjs/common'); }), (function(a) {})])",
            "({ 1: (module) => { module.exports = require('@nestjs/common'); }, 3: (a) => {} })",
        ] {
            let source = format!(
                "var __webpack_modules__ = {modules}; const a = __webpack_require__(1); const b = __webpack_require__(3);"
            );
            let read = unbundled(tokens(&source));
            assert!(read.ends_with(&expected), "{modules}: {read:?}");
        }
        let by_path = "var __webpack_modules__ = { 'x': (module) => { module.exports = require('x'); } }; __webpack_require__('x')";
        assert!(unbundled(tokens(by_path)).ends_with(&tokens("require('x')")));
    }

    #[test]
    fn other_sources_and_broken_ones_stay_as_they_are() {
        for source in ["__webpack_require__(1)", "__webpack_modules__ =", "__webpack_modules__ = ([,,", "x = [1, 2]"] {
            assert_eq!(unbundled(tokens(source)), tokens(source), "{source}");
        }
    }
}
