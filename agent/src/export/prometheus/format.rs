//! Which of Prometheus's formats a scraper is answered in.

/// A format that a page can be written in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(in crate::export) enum Format {
    /// The classic text format, 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's protocol buffers, each family after its length: the only one that has native histograms.
    Protobuf,
}

impl Format {
    pub(super) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Protobuf => {
                "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"
            }
        }
    }

    /// What a scraper likes best of what there is, by its `Accept`; the first of several that it likes as much. The classic text
    /// where it asks for nothing, or for nothing that there is: a page in a format that was not asked for helps more than none.
    pub(super) fn accepted(accept: &str) -> Self {
        let mut best: Option<(f32, Self)> = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let parameters: Vec<(&str, &str)> = parts
                .filter_map(|parameter| parameter.split_once('='))
                .map(|(name, value)| (name.trim(), value.trim().trim_matches('"')))
                .collect();
            let find = |wanted: &str| {
                parameters.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| *value)
            };
            let Some(format) = Self::of(kind, find) else { continue };
            let quality = find("q").map_or(1.0, |text| text.parse().unwrap_or(0.0_f32));
            if quality > best.map_or(0.0, |(most, _)| most) {
                best = Some((quality, format));
            }
        }
        best.map_or_else(Self::default, |(_, format)| format)
    }

    fn of<'a>(kind: &str, parameter: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        match kind.to_ascii_lowercase().as_str() {
            "application/openmetrics-text" => {
                let is_known = parameter("version").is_none_or(|version| matches!(version, "1.0.0" | "0.0.1"));
                is_known.then_some(Self::OpenMetrics)
            }
            "application/vnd.google.protobuf" => (parameter("proto") == Some("io.prometheus.client.MetricFamily")
                && parameter("encoding").is_none_or(|encoding| encoding == "delimited"))
            .then_some(Self::Protobuf),
            "text/plain" => parameter("version").is_none_or(|version| version == "0.0.4").then_some(Self::Text),
            "text/*" | "*/*" => Some(Self::Text),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scrapers_get_what_they_like_best() {
        let cases = [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html, image/png", Format::Text),
            ("text/plain;version=0.0.4;q=0.5,*/*;q=0.1", Format::Text),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text; version=\"0.0.1\"", Format::OpenMetrics),
            ("application/openmetrics-text;version=2.0.0,text/plain;q=0.2", Format::Text),
            ("application/openmetrics-text;q=0", Format::Text),
            ("text/plain;q=0.1,application/openmetrics-text;q=nonsense", Format::Text),
            ("application/vnd.google.protobuf;proto=other.Message;encoding=delimited", Format::Text),
            // Prometheus 2.42, without and with native histograms.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,\
                 application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,\
                 text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::Protobuf,
            ),
            // Prometheus 3.
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                 text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                Format::OpenMetrics,
            ),
        ];
        for (accept, format) in cases {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }
}
