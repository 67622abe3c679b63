//! What is asked: the parameters of a request.

use std::{borrow::Cow, time::Duration};

use super::answers::kind_of;
use crate::store::Filter;

/// Longest window that is answered for: a day.
const WINDOW_MAX_S: u64 = 24 * 3600;
/// Most traces of an answer.
pub(super) const TRACES_MAX: usize = 200;
/// Those by which spans are asked for.
pub(super) const SPANS: [&str; 11] = [
    "service",
    "namespace",
    "name",
    "kind",
    "status",
    "min_duration",
    "max_duration",
    "since",
    "until",
    "attribute",
    "q",
];
/// Most parameters that are read.
const PARAMETERS_MAX: usize = 64;

/// The parameters.
pub(super) struct Query(Vec<(String, String)>);

/// What is wrong with one.
pub(super) type Wrong = String;

impl Query {
    pub(super) fn of(text: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(text.unwrap_or_default().as_bytes()).take(PARAMETERS_MAX);
        Self(pairs.map(|(key, value): (Cow<'_, str>, Cow<'_, str>)| (key.into_owned(), value.into_owned())).collect())
    }

    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(its, value)| its == key && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    pub(super) fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(its, _)| its == key).map(|(_, value)| value.as_str())
    }

    /// Whether there are no others than these: one that is misspelt would leave out nothing.
    pub(super) fn only(&self, known: &[&str]) -> Result<(), Wrong> {
        let is_again = |(at, (key, _)): &(usize, &(String, String))| {
            key != "attribute" && self.0.iter().take(*at).any(|(before, _)| before == key)
        };
        if let Some((_, (key, _))) = self.0.iter().enumerate().find(is_again) {
            return Err(format!("`{key}` is given more than once"));
        }
        match self.0.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) if known.is_empty() => Err(format!("`{key}`: this question has no parameters")),
            Some((key, _)) => Err(format!("`{key}` is no parameter of this question; it has: {}", known.join(", "))),
        }
    }

    /// The same for spans, with some more.
    pub(super) fn only_spans(&self, more: &[&str]) -> Result<(), Wrong> {
        self.only(&[&SPANS[..], more].concat())
    }

    /// Whether the slowest are to be first.
    pub(super) fn is_slowest_first(&self) -> Result<bool, Wrong> {
        match self.get("sort") {
            None | Some("latest") => Ok(false),
            Some("slowest") => Ok(true),
            Some(other) => Err(format!("sort: `{other}` is neither `latest` nor `slowest`")),
        }
    }

    fn number(&self, key: &str) -> Result<Option<f64>, Wrong> {
        let parse = |text: &str| match text.parse::<f64>() {
            Ok(number) if number.is_finite() && number >= 0.0 => Ok(number),
            _ => Err(format!("{key}: `{text}` is no number that is not negative")),
        };
        self.get(key).map(parse).transpose()
    }

    /// `window`: `60`, `60s`, `15m`, `6h`; a minute where it is not given.
    pub(super) fn window(&self) -> Result<Duration, Wrong> {
        let Some(text) = self.get("window") else { return Ok(Duration::from_secs(60)) };
        let length =
            duration(text).ok_or_else(|| format!("window: `{text}` is no length of time such as 60s or 15m"))?;
        Ok(length.clamp(Duration::from_secs(1), Duration::from_secs(WINDOW_MAX_S)))
    }

    pub(super) fn limit(&self, default: usize) -> Result<usize, Wrong> {
        match self.number("limit")? {
            Some(limit) if limit < 1.0 => Err(format!("limit: it is from 1 to {TRACES_MAX}")),
            Some(limit) => Ok((limit as usize).min(TRACES_MAX)),
            None => Ok(default),
        }
    }

    pub(super) fn length(&self, key: &str) -> Result<Option<u64>, Wrong> {
        let parse = |text: &str| {
            let length =
                duration(text).ok_or_else(|| format!("{key}: `{text}` is no length of time such as 10ms or 1s"))?;
            Ok(u64::try_from(length.as_micros()).unwrap_or(u64::MAX))
        };
        self.get(key).map(parse).transpose()
    }

    /// A time in seconds since the Unix epoch.
    fn time(&self, key: &str) -> Result<Option<u64>, Wrong> {
        Ok(self.number(key)?.map(|seconds| (seconds * 1e9) as u64))
    }

    /// Which spans are asked for.
    pub(super) fn filter(&self) -> Result<Filter, Wrong> {
        let own = |key: &str| self.get(key).map(str::to_owned);
        let is_error = match self.get("status") {
            None => None,
            Some("error") => Some(true),
            Some("ok") => Some(false),
            Some(other) => return Err(format!("status: `{other}` is neither `error` nor `ok`")),
        };
        let kind = |name: &str| kind_of(name).ok_or_else(|| format!("kind: `{name}` is no kind of span"));
        let attribute = |pair: &str| {
            let (key, value) =
                pair.split_once('=').ok_or_else(|| format!("attribute: `{pair}` is not as `key=value`"))?;
            Ok((key.to_owned(), value.to_owned()))
        };
        Ok(Filter {
            service: own("service"),
            namespace: self.0.iter().find(|(key, _)| key == "namespace").map(|(_, value)| value.clone()),
            name: own("name"),
            kind: self.get("kind").map(kind).transpose()?,
            is_error,
            min_us: self.length("min_duration")?,
            max_us: self.length("max_duration")?,
            since_unix_ns: self.time("since")?,
            until_unix_ns: self.time("until")?,
            attributes: self.all("attribute").map(attribute).collect::<Result<_, Wrong>>()?,
            text: own("q"),
        })
    }
}

/// A length of time; without a unit, in seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let split = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: f64 = number.parse().ok()?;
    let unit = match unit {
        "ns" => 1e-9,
        "us" | "µs" => 1e-6,
        "ms" => 1e-3,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "d" => 86400.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number * unit).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_read_and_what_is_wrong_is_named() {
        let query =
            Query::of(Some("service=a%20b&status=error&min_duration=1.5ms&attribute=http.route%3D%2Fx&q=&since=1.5"));
        let filter = query.filter().unwrap();
        assert_eq!(filter.service.as_deref(), Some("a b"));
        assert_eq!(
            (filter.is_error, filter.min_us, filter.since_unix_ns),
            (Some(true), Some(1500), Some(1_500_000_000))
        );
        assert_eq!(filter.attributes, [("http.route".to_owned(), "/x".to_owned())]);
        assert_eq!(filter.text, None);
        for (wrong, named) in
            [("status=x", "status"), ("min_duration=1x", "min_duration"), ("kind=x", "kind"), ("since=-1", "since")]
        {
            assert!(Query::of(Some(wrong)).filter().unwrap_err().starts_with(named));
        }
        assert_eq!(Query::of(Some("window=1000d")).window(), Ok(Duration::from_secs(86400)));
        assert!(Query::of(Some("window=x")).window().is_err());
        assert_eq!(Query::of(Some("limit=1e9")).limit(20), Ok(TRACES_MAX));
        assert!(Query::of(Some("limit=0")).limit(20).is_err());
        assert_eq!(Query::of(Some("sort=slowest")).is_slowest_first(), Ok(true));
        assert!(Query::of(Some("sort=foo")).is_slowest_first().is_err());
        let twice = |text| Query::of(Some(text)).only(&["service", "attribute"]);
        assert_eq!(twice("service=a&attribute=a%3D1&service=b").unwrap_err(), "`service` is given more than once");
        assert_eq!(twice("service=a&attribute=a%3D1&attribute=b%3D2"), Ok(()));
        let wrong = Query::of(Some("service=a&servce=b")).only(&["service"]).unwrap_err();
        assert_eq!(wrong, "`servce` is no parameter of this question; it has: service");
    }

    #[test]
    fn lengths_of_time_have_units_or_are_seconds() {
        for (text, ms) in [("1", 1000), ("1.5s", 1500), ("250ms", 250), ("2m", 120_000), ("1h", 3_600_000)] {
            assert_eq!(duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "x", "1x", "-1s", "1e400s", "."] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
