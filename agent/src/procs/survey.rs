//! The rows of `beyla-rs survey`, as text and as JSON.

use std::{fmt::Write, iter};

use compact_str::CompactString;
use serde::Serialize;

use super::{executable::Tls, instrumentation::Vendor};
use crate::model::ids::ProcessId;

/// A process that would be watched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// Pid in the host's PID namespace.
    pub pid: ProcessId,
    /// `service.name`.
    pub service_name: CompactString,
    /// `service.namespace`.
    pub service_namespace: Option<CompactString>,
    /// `telemetry.sdk.language`.
    pub language: Option<&'static str>,
    /// The release of its runtime, where the program says it (Go).
    pub runtime_version: Option<CompactString>,
    /// Path of the executable.
    pub executable: String,
    /// TCP ports it listens on.
    pub ports: Vec<u16>,
    /// The TLS library it uses.
    pub tls: Option<RowTls>,
    /// Who else describes what it does: OpenTelemetry's SDK, agents of others.
    pub instrumented_by: Vec<Vendor>,
    /// The rule it is watched by, then others that match too; `default` where no rule is given.
    pub matched_by: Vec<CompactString>,
}

/// A TLS library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RowTls {
    /// Its name.
    pub library: &'static str,
    /// Its version, as far as its file's name says it.
    pub version: Option<CompactString>,
    /// The mapped file; absent where it is part of the executable.
    pub path: Option<String>,
    /// Why its plaintext cannot be seen, where that is known beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<&'static str>,
    /// Others that it has loaded as well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Self>,
}

impl RowTls {
    /// Of what was found in a process, what is seen first.
    pub(super) fn of(found: Vec<(Tls, Option<String>)>) -> Option<Self> {
        let mut rows = found.into_iter().map(|(tls, path)| Self {
            library: tls.library.name(),
            version: tls.version,
            path,
            unseen: tls.library.unseen(),
            also: Vec::new(),
        });
        let first = rows.next()?;
        Some(Self { also: rows.collect(), ..first })
    }

    fn text(&self) -> String {
        let own = match (&self.version, self.unseen) {
            (_, Some(unseen)) => format!("{}, not seen: {unseen}", self.library),
            (Some(version), None) => format!("{} {version}", self.library),
            (None, None) => self.library.to_owned(),
        };
        iter::once(own).chain(self.also.iter().map(Self::text)).collect::<Vec<_>>().join("; ")
    }
}

/// A JSON array, one object per row.
///
/// # Errors
/// None in practice: rows hold nothing that JSON cannot.
pub(crate) fn json(rows: &[Row]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(rows)
}

/// A table for people. `written_out` is what becomes of other programs' names, so that none drives the terminal.
#[must_use]
pub(crate) fn text(rows: &[Row], written_out: impl Fn(&str) -> String) -> String {
    const HEAD: [&str; 8] =
        ["PID", "SERVICE", "LANGUAGE", "PORTS", "TLS", "INSTRUMENTED BY", "MATCHED BY", "EXECUTABLE"];
    let mut cells: Vec<[String; 8]> = vec![HEAD.map(str::to_owned)];
    cells.extend(rows.iter().map(|row| {
        let service = match &row.service_namespace {
            Some(namespace) => format!("{namespace}/{}", row.service_name),
            None => row.service_name.to_string(),
        };
        let ports: Vec<String> = row.ports.iter().map(u16::to_string).collect();
        let tls = row.tls.as_ref().map(RowTls::text);
        let dash = || "-".to_owned();
        let vendors: Vec<&str> = row.instrumented_by.iter().map(|vendor| vendor.name()).collect();
        let cells = [
            row.pid.to_string(),
            service,
            row.runtime_version
                .as_ref()
                .map(ToString::to_string)
                .or_else(|| row.language.map(str::to_owned))
                .unwrap_or_else(dash),
            if ports.is_empty() { dash() } else { ports.join(",") },
            tls.unwrap_or_else(dash),
            if vendors.is_empty() { dash() } else { vendors.join(", ") },
            row.matched_by.join(", "),
            row.executable.clone(),
        ];
        cells.map(|cell| written_out(&cell))
    }));
    let width = |column: usize| cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..HEAD.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &cells {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written_out(name: &str) -> String {
        name.replace('\u{1b}', "\\u{1b}")
    }

    fn rows() -> Vec<Row> {
        let tls = RowTls {
            library: "openssl",
            version: Some("3".into()),
            path: Some("/usr/lib/libssl.so.3".into()),
            unseen: None,
            also: Vec::new(),
        };
        let first = Row {
            pid: ProcessId(7),
            service_name: "orders".into(),
            service_namespace: Some("shop".into()),
            language: Some("python"),
            runtime_version: None,
            executable: "/usr/bin/python3".into(),
            ports: vec![80, 8080],
            tls: Some(tls),
            instrumented_by: vec![Vendor::Opentelemetry, Vendor::NewRelic],
            matched_by: vec!["a".into(), "b".into()],
        };
        let second = Row {
            pid: ProcessId(4711),
            service_name: "x\u{1b}[2J".into(),
            service_namespace: None,
            language: Some("go"),
            runtime_version: Some("go1.26.8".into()),
            executable: "/x".into(),
            ports: Vec::new(),
            tls: None,
            instrumented_by: Vec::new(),
            matched_by: vec!["default".into()],
        };
        vec![first, second]
    }

    #[test]
    fn the_table_is_aligned_and_cannot_move_the_cursor() {
        let expected = "\
PID   SERVICE      LANGUAGE  PORTS    TLS        INSTRUMENTED BY           MATCHED BY  EXECUTABLE
7     shop/orders  python    80,8080  openssl 3  opentelemetry, new_relic  a, b        /usr/bin/python3
4711  x\\u{1b}[2J   go1.26.8  -        -          -                         default     /x
";
        assert_eq!(text(&rows(), written_out), expected);
    }

    #[test]
    fn tls_that_is_not_seen_says_why() {
        let unseen =
            |library, unseen| RowTls { library, version: None, path: None, unseen: Some(unseen), also: Vec::new() };
        let row = Row { tls: Some(unseen("rustls", "the program is stripped")), ..rows().remove(1) };
        let text = text(std::slice::from_ref(&row), written_out);
        assert!(text.contains("  rustls, not seen: the program is stripped  -                default"), "{text}");
        let value: serde_json::Value = serde_json::from_str(&json(&[row]).unwrap()).unwrap();
        assert_eq!(value[0]["tls"]["unseen"], "the program is stripped");
        // One that is seen hides none that is not.
        let mut row = rows().remove(0);
        if let Some(tls) = &mut row.tls {
            tls.also.push(unseen("nss", "it is not probed"));
        }
        let text = super::text(std::slice::from_ref(&row), written_out);
        assert!(
            text.contains("  openssl 3; nss, not seen: it is not probed  opentelemetry, new_relic  a, b"),
            "{text}"
        );
        let value: serde_json::Value = serde_json::from_str(&json(&[row]).unwrap()).unwrap();
        assert_eq!(value[0]["tls"]["also"][0]["library"], "nss");
    }

    #[test]
    fn json_has_the_documented_keys() {
        let value: serde_json::Value = serde_json::from_str(&json(&rows()).unwrap()).unwrap();
        let mut keys: Vec<&String> = value[0].as_object().unwrap().keys().collect();
        keys.sort();
        let mut expected = [
            "pid",
            "service_name",
            "service_namespace",
            "language",
            "runtime_version",
            "executable",
            "ports",
            "tls",
            "matched_by",
            "instrumented_by",
        ];
        expected.sort_unstable();
        assert_eq!(keys, expected);
        assert_eq!(value[0]["tls"]["library"], "openssl");
        assert_eq!(value[0]["instrumented_by"][1], "new_relic");
        assert!(value[1]["tls"].is_null() && value[1]["runtime_version"] == "go1.26.8");
    }
}
