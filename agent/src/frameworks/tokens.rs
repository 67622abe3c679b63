//! Tokens of a source in whatever language, and what stands in parentheses and lists.

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    Name(String),
    /// A literal string; `None`: one that is put together when the program runs.
    Text(Option<String>),
    /// A whole number, where the language's reader tells it.
    Number(u32),
    /// Whatever else is no operator: another number, a regular expression.
    Other,
    Operator(char),
}

/// The tokens within the parenthesis that opens at `at`, and where it closes.
pub(super) fn within(tokens: &[Token], at: usize) -> (&[Token], usize) {
    let mut depth = 0_usize;
    for (offset, token) in tokens.iter().enumerate().skip(at) {
        match token {
            Token::Operator('(' | '[' | '{') => depth += 1,
            Token::Operator(')' | ']' | '}') => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return (tokens.get(at + 1..offset).unwrap_or_default(), offset);
                }
            }
            _ => {}
        }
    }
    (tokens.get(at + 1..).unwrap_or_default(), tokens.len())
}

/// What stands between the commas of a list.
pub(super) fn items(tokens: &[Token]) -> Vec<&[Token]> {
    let (mut items, mut from, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::Operator('(' | '[' | '{') => depth += 1,
            Token::Operator(')' | ']' | '}') => depth = depth.saturating_sub(1),
            Token::Operator(',') if depth == 0 => {
                items.push(tokens.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    items.push(tokens.get(from..).unwrap_or_default());
    items.retain(|item| !item.is_empty());
    items
}
