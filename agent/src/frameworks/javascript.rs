//! As much of JavaScript's syntax as is needed to see calls and literal strings.

use super::tokens::Token;

/// The tokens of a source.
pub(super) fn tokens(source: &str) -> Vec<Token> {
    let bytes = source.as_bytes();
    let mut tokens: Vec<Token> = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b' ' | b'\t' | b'\r' | b'\n' => at += 1,
            b'/' if bytes.get(at + 1) == Some(&b'/') => {
                at += bytes.iter().skip(at).take_while(|byte| **byte != b'\n').count();
            }
            b'/' if bytes.get(at + 1) == Some(&b'*') => {
                at += source.get(at..).and_then(|rest| rest.find("*/")).map_or(bytes.len(), |length| length + 2);
            }
            b'/' if may_begin_pattern(tokens.last()) => {
                at = after_pattern(bytes, at);
                tokens.push(Token::Other);
            }
            b'\'' | b'"' | b'`' => {
                let (text, after) = text(bytes, at, byte);
                tokens.push(Token::Text(text));
                at = after;
            }
            _ if is_name(byte) => {
                let length = bytes.iter().skip(at).take_while(|byte| is_name(**byte)).count();
                let name = source.get(at..at + length).unwrap_or_default();
                tokens.push(match name.parse() {
                    Ok(number) => Token::Number(number),
                    Err(_) if byte.is_ascii_digit() => Token::Other,
                    Err(_) => Token::Name(name.to_owned()),
                });
                at += length;
            }
            _ => {
                tokens.push(Token::Operator(char::from(byte)));
                at += 1;
            }
        }
    }
    tokens
}

const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}

/// Whether a slash is not a division.
fn may_begin_pattern(before: Option<&Token>) -> bool {
    match before {
        None => true,
        Some(Token::Operator(operator)) => !matches!(operator, ')' | ']' | '}'),
        Some(Token::Name(name)) => matches!(name.as_str(), "return" | "typeof" | "case" | "in" | "of"),
        Some(_) => false,
    }
}

fn after_pattern(bytes: &[u8], at: usize) -> usize {
    let (mut at, mut is_in_class) = (at + 1, false);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'\\' => at += 1,
            b'[' => is_in_class = true,
            b']' => is_in_class = false,
            b'/' if !is_in_class => return at + 1,
            b'\n' => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

fn text(bytes: &[u8], at: usize, quote: u8) -> (Option<String>, usize) {
    let (mut at, mut out, mut is_plain) = (at + 1, Vec::new(), true);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            // What an escape stands for is not needed: such a string is no path.
            b'\\' => {
                is_plain = false;
                at += 1;
            }
            b'\n' if quote != b'`' => break,
            byte if byte == quote => {
                at += 1;
                break;
            }
            b'$' if quote == b'`' && bytes.get(at + 1) == Some(&b'{') => {
                is_plain = false;
                // What is within may hold quotes of its own.
                let mut depth = 0_usize;
                while let Some(&byte) = bytes.get(at) {
                    depth = match byte {
                        b'{' => depth + 1,
                        b'}' => depth.saturating_sub(1),
                        _ => depth,
                    };
                    if byte == b'}' && depth == 0 {
                        break;
                    }
                    at += 1;
                }
            }
            byte => out.push(byte),
        }
        at += 1;
    }
    (is_plain.then(|| String::from_utf8(out).ok()).flatten(), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_comments_and_patterns_are_told_apart() {
        let source = "// 'a'\nx = a / b; /* `c` */ y = /d'[/]e/; z('f', `g${h('x')}i`, `j`)";
        let texts: Vec<Option<String>> = tokens(source)
            .into_iter()
            .filter_map(|token| match token {
                Token::Text(text) => Some(text),
                _ => None,
            })
            .collect();
        assert_eq!(texts, [Some("f".into()), None, Some("j".into())]);
    }
}
