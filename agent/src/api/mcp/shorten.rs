//! Answers made small enough to be read by who pays for each word: without what only a page draws, with times that can be read, and with
//! lists that end and say how much more there is.

use serde_json::{Map, Value as Json};

/// Most bytes of an answer.
pub(super) const ANSWER_MAX: usize = 24 << 10;
/// Most bytes of a text in it.
const TEXT_MAX: usize = 300;

/// What is left of an answer: `dropped` keys are not told, a list has `items` at most, and fewer where all of it is too long.
pub(super) fn shorten(answer: &Json, dropped: &[&str], items: usize) -> Json {
    let mut items = items.max(1);
    loop {
        let short = of_value(answer, dropped, items);
        if items == 1 || short.to_string().len() <= ANSWER_MAX {
            return short;
        }
        items /= 2;
    }
}

fn of_value(value: &Json, dropped: &[&str], items: usize) -> Json {
    match value {
        Json::String(text) if text.len() > TEXT_MAX => {
            let cut = text.get(..text.floor_char_boundary(TEXT_MAX)).unwrap_or_default();
            Json::String(format!("{cut}… ({} bytes)", text.len()))
        }
        Json::Array(list) => list.iter().take(items).map(|it| of_value(it, dropped, items)).collect(),
        Json::Object(object) => of_object(object, dropped, items),
        other => other.clone(),
    }
}

fn of_object(object: &Map<String, Json>, dropped: &[&str], items: usize) -> Json {
    let mut short = Map::new();
    for (key, value) in object {
        if dropped.contains(&key.as_str()) || is_nothing(value) {
            continue;
        }
        if let Some(key) = key.strip_suffix("_unix_ms")
            && let Some(time) = time_of(value)
        {
            short.insert(key.to_owned(), time.into());
            continue;
        }
        short.insert(key.clone(), of_value(value, dropped, items));
        let left_out = value.as_array().map_or(0, Vec::len).saturating_sub(items);
        if left_out > 0 {
            short.insert(format!("{key}_left_out"), left_out.into());
        }
    }
    Json::Object(short)
}

fn is_nothing(value: &Json) -> bool {
    value.is_null() || value.as_str() == Some("")
}

fn time_of(value: &Json) -> Option<String> {
    let at = jiff::Timestamp::from_millisecond(value.as_f64()? as i64).ok()?;
    Some(format!("{at:.3}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_has_no_more_than_can_be_read_and_says_so() {
        let answer = json!({ "services": (0..500).map(|n| json!({ "name": "x".repeat(1000), "n": n, "namespace": "", "p50_ms": null,
                             "sparkline": vec![0.0; 30] })).collect::<Vec<_>>(), "start_unix_ms": 1_796_014_758_976.5 });
        let short = shorten(&answer, &["sparkline"], 50);
        let services = short["services"].as_array().unwrap();
        assert_eq!(services.len(), 50);
        assert_eq!(short["services_left_out"], 450);
        assert_eq!(services[0], json!({ "name": format!("{}… (1000 bytes)", "x".repeat(300)), "n": 0 }));
        assert_eq!(short["start"], "2026-11-30T04:59:18.976Z");
        assert!(short.to_string().len() <= ANSWER_MAX);
        let long = json!({ "services": vec![json!({ "name": "y".repeat(900), "path": "z".repeat(900) }); 50] });
        let short = shorten(&long, &[], 50);
        assert_eq!((short["services"].as_array().unwrap().len(), &short["services_left_out"]), (25, &json!(25)));
    }

    proptest! {
        /// Whatever comes, it ends and is cut where a character ends.
        #[test]
        fn any_text_is_cut(text in "\\PC{0,400}", items in 0_usize..9) {
            let short = shorten(&json!({ "a": [text, text], "b_unix_ms": 1e300 }), &[], items);
            prop_assert!(short["a"].as_array().unwrap().len() <= items.max(1));
        }
    }
}
