//! Of a message that is longer than what is read: whose it is, so that who waits for its answer has one. Clients write `id` where they
//! like, mostly at the end.

use serde_json::Value as Json;

/// Most bytes of a key or an id that are kept.
const KEPT_MAX: usize = 256;

/// Finds `id` in a message that is given piece by piece, and keeps hardly anything of it.
#[derive(Debug, Default)]
pub(crate) struct FindId {
    depth: usize,
    is_in_text: bool,
    is_escaped: bool,
    /// Of the message's own members: the last text, which may be a key.
    text: Vec<u8>,
    /// The value of `id`, as it is written.
    value: Option<Vec<u8>>,
    is_value: bool,
}

impl FindId {
    pub(crate) fn take(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.on_byte(*byte));
    }

    /// The id; `null` where none was found that can be one.
    pub(crate) fn id(self) -> Json {
        let value = self.value.and_then(|value| serde_json::from_slice(&value).ok());
        value.filter(|id: &Json| id.is_string() || id.is_number()).unwrap_or_default()
    }

    fn on_byte(&mut self, byte: u8) {
        let is_own = self.depth == 1;
        let is_end = !self.is_in_text && matches!(byte, b',' | b'}');
        if self.is_value
            && is_own
            && !is_end
            && let Some(value) = self.value.as_mut().filter(|value| value.len() < KEPT_MAX)
        {
            value.push(byte);
        }
        if self.is_in_text {
            match byte {
                _ if self.is_escaped => self.is_escaped = false,
                b'\\' => self.is_escaped = true,
                b'"' => self.is_in_text = false,
                _ if is_own && self.text.len() < KEPT_MAX => self.text.push(byte),
                _ => {}
            }
            return;
        }
        match byte {
            b'"' => {
                self.is_in_text = true;
                self.text.clear();
            }
            b':' if is_own && !self.is_value => {
                self.is_value = self.text == b"id";
                if self.is_value {
                    self.value = Some(Vec::new());
                }
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.is_value &= self.depth != 1;
                self.depth = self.depth.saturating_sub(1);
            }
            b',' if is_own => self.is_value = false,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_id_is_found_wherever_it_stands_and_in_whatever_pieces_it_comes() {
        let long = "x".repeat(100_000);
        for (message, expected) in [
            (format!(r#"{{"jsonrpc":"2.0","id":7,"params":{{"id":8,"a":"{long}"}}}}"#), json!(7)),
            (
                format!(r#"{{"method":"tools/call","params":{{"a":["{long}"],"id":1}},"id" : "a,}}\"b" }}"#),
                json!("a,}\"b"),
            ),
            (format!(r#"{{"x":"\"id\":3","params":"{long}","id":-4}}"#), json!(-4)),
            (format!(r#"{{"params":{{"id":1}},"a":"{long}"}}"#), json!(null)),
            (format!(r#"{{"id":{{"a":1}},"a":"{long}"}}"#), json!(null)),
            (format!("{long}{{[}}]\"\\"), json!(null)),
        ] {
            for size in [1, 7, message.len()] {
                let mut find = FindId::default();
                message.as_bytes().chunks(size).for_each(|piece| find.take(piece));
                assert_eq!(find.id(), expected, "{size}");
            }
        }
    }
}
