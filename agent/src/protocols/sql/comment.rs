//! Trace context that programs write into a comment (<https://google.github.io/sqlcommenter/spec/>).

use memchr::memmem;

use crate::model::trace_context::TraceParent;

/// The `traceparent` of a comment, if it has one that is valid.
pub(super) fn parent(comment: &[u8]) -> Option<TraceParent> {
    const KEY: &[u8] = b"traceparent=";
    // Most have none: looked for once.
    let at = memmem::find(comment, KEY)?;
    let before = at.checked_sub(1).and_then(|before| comment.get(before));
    if before.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') {
        return None;
    }
    let value = comment.get(at + KEY.len()..)?;
    let value = value.strip_prefix(b"'").or_else(|| value.strip_prefix(b"\"")).unwrap_or(value);
    let end = value.iter().position(|byte| !(byte.is_ascii_alphanumeric() || *byte == b'-')).unwrap_or(value.len());
    TraceParent::parse(value.get(..end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_if_it_is_one() {
        let parent = |text: &str| parent(text.as_bytes()).map(|parent| parent.span_id.0[0]);
        const VALUE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(parent(&format!("/*app='x',traceparent='{VALUE}'*/")), Some(0xb7));
        assert_eq!(parent(&format!("/* traceparent={VALUE} */")), Some(0xb7));
        assert_eq!(parent(&format!("/*xtraceparent='{VALUE}'*/")), None);
        assert_eq!(parent(&format!("/*traceparent='{}'*/", &VALUE[..50])), None);
        assert_eq!(parent("/*traceparent='"), None);
    }
}
