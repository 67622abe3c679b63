//! As much of Python's syntax as is needed to see what stands at which place: statements, calls and literal strings.

use super::tokens::{Token, items};

/// A statement, without its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Statement {
    /// Blanks before it.
    pub indent: usize,
    pub tokens: Vec<Token>,
}

/// The statements of a source.
pub(super) fn statements(source: &str) -> Vec<Statement> {
    let bytes = source.as_bytes();
    let (mut statements, mut tokens) = (Vec::new(), Vec::new());
    let (mut at, mut depth, mut indent, mut is_at_start) = (0, 0_usize, 0, true);
    let mut end = |tokens: &mut Vec<Token>, indent: usize| {
        if !tokens.is_empty() {
            statements.push(Statement { indent, tokens: std::mem::take(tokens) });
        }
    };
    while let Some(&byte) = bytes.get(at) {
        if is_at_start && depth == 0 {
            indent = 0;
            while let Some(blank @ (b' ' | b'\t')) = bytes.get(at) {
                indent += if *blank == b'\t' { 8 } else { 1 };
                at += 1;
            }
            is_at_start = false;
            continue;
        }
        match byte {
            b'\n' => {
                if depth == 0 {
                    end(&mut tokens, indent);
                    is_at_start = true;
                }
                at += 1;
            }
            b'#' => at += bytes.iter().skip(at).take_while(|byte| **byte != b'\n').count(),
            b'\\' => at += 2,
            b' ' | b'\t' | b'\r' => at += 1,
            b';' if depth == 0 => {
                end(&mut tokens, indent);
                at += 1;
            }
            b'\'' | b'"' => {
                let (text, after) = text(bytes, at, "");
                push_text(&mut tokens, text);
                at = after;
            }
            _ if is_name(byte) => {
                let length = bytes.iter().skip(at).take_while(|byte| is_name(**byte)).count();
                let name = source.get(at..at + length).unwrap_or_default();
                at += length;
                let is_prefix = name.len() <= 2 && name.chars().all(|letter| "rRbBfFuUtT".contains(letter));
                if is_prefix && matches!(bytes.get(at), Some(b'\'' | b'"')) {
                    let (text, after) = text(bytes, at, name);
                    push_text(&mut tokens, text);
                    at = after;
                } else if byte.is_ascii_digit() {
                    tokens.push(Token::Other);
                } else {
                    tokens.push(Token::Name(name.to_owned()));
                }
            }
            _ => {
                match byte {
                    b'(' | b'[' | b'{' => depth += 1,
                    b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                    _ => {}
                }
                tokens.push(Token::Operator(char::from(byte)));
                at += 1;
            }
        }
    }
    end(&mut tokens, indent);
    statements
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Strings beside each other are one.
fn push_text(tokens: &mut Vec<Token>, text: Option<String>) {
    if let Some(Token::Text(before)) = tokens.last_mut() {
        *before = before.take().zip(text).map(|(before, text)| before + &text);
    } else {
        tokens.push(Token::Text(text));
    }
}

/// The string that begins at a quote, and where it ends.
fn text(bytes: &[u8], at: usize, prefix: &str) -> (Option<String>, usize) {
    let quote = bytes.get(at).copied().unwrap_or_default();
    let is_long = bytes.get(at + 1) == Some(&quote) && bytes.get(at + 2) == Some(&quote);
    let is_raw = prefix.contains(['r', 'R']);
    let mut is_plain = !prefix.contains(['f', 'F', 'b', 'B', 't', 'T']);
    let mut out = Vec::new();
    let mut at = at + if is_long { 3 } else { 1 };
    while let Some(&byte) = bytes.get(at) {
        if byte == b'\\' {
            // What an escape stands for is not needed: such a string is no path.
            is_plain &= is_raw;
            out.extend(bytes.get(at..at + 2).unwrap_or_default());
            at += 2;
            continue;
        }
        let is_end =
            byte == quote && (!is_long || bytes.get(at + 1) == Some(&quote) && bytes.get(at + 2) == Some(&quote));
        if is_end || byte == b'\n' && !is_long {
            at += if is_long { 3 } else { 1 };
            break;
        }
        out.push(byte);
        at += 1;
    }
    (is_plain.then(|| String::from_utf8(out).ok()).flatten(), at)
}

/// The arguments of a call.
#[derive(Clone, Debug, Default)]
pub(super) struct Arguments<'a> {
    pub positional: Vec<&'a [Token]>,
    pub named: Vec<(&'a str, &'a [Token])>,
    /// There are others, which are made when the program runs (`*a`, `**b`).
    pub has_more: bool,
}

impl<'a> Arguments<'a> {
    pub(super) fn of(tokens: &'a [Token]) -> Self {
        let mut all = Self::default();
        for item in items(tokens) {
            match item {
                [Token::Operator('*'), ..] => all.has_more = true,
                [Token::Name(name), Token::Operator('='), value @ ..]
                    if value.first() != Some(&Token::Operator('=')) =>
                {
                    all.named.push((name, value));
                }
                item => all.positional.push(item),
            }
        }
        all
    }

    pub(super) fn named(&self, name: &str) -> Option<&'a [Token]> {
        self.named.iter().find(|(its, _)| *its == name).map(|(_, value)| *value)
    }
}

/// A dotted name that stands alone.
pub(super) fn dotted(tokens: &[Token]) -> Option<String> {
    let mut name = String::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Name(part) if at % 2 == 0 => name += part,
            Token::Operator('.') if at % 2 == 1 => name.push('.'),
            _ => return None,
        }
    }
    (!name.is_empty() && !name.ends_with('.')).then_some(name)
}

/// A literal string that stands alone.
pub(super) fn literal(tokens: &[Token]) -> Option<&str> {
    match tokens {
        [Token::Text(Some(text))] => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tokens::within, *};

    #[test]
    fn statements_are_taken_apart() {
        let source = "a = 'x' \"y\"  # no\nif b:\n    @app.route(f'/{c}',\n        r'/d')\n    '''doc\n@no'''\n";
        let found = statements(source);
        assert_eq!(found.iter().map(|statement| statement.indent).collect::<Vec<_>>(), [0, 0, 4, 4]);
        assert_eq!(literal(&found[0].tokens[2..]), Some("xy"));
        let (inner, _) = within(&found[2].tokens, 4);
        let arguments = Arguments::of(inner);
        assert_eq!(arguments.positional.iter().map(|item| literal(item)).collect::<Vec<_>>(), [None, Some("/d")]);
        assert_eq!(dotted(&found[2].tokens[1..4]).as_deref(), Some("app.route"));
    }
}
