//! A real Prometheus that scrapes an agent and is asked in PromQL.

use std::{fs, process::Command};

use serde_json::Value;

use crate::{
    LONG,
    agent::Agent,
    client::Connection,
    need,
    program::{Program, folder, free_port},
    wait::poll,
};

/// A Prometheus that scrapes an agent a few times a second.
pub struct Prometheus {
    port: u16,
    program: Program,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// One with these features switched on, and more of its configuration.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn of(agent: &Agent, features: &str, more: &str) -> Self {
        let files = folder();
        let config = files.path().join("prometheus.yml");
        let target = agent.listen();
        let text = format!(
            "{more}\nscrape_configs: [{{job_name: agent, honor_labels: true, scrape_interval: 200ms, scrape_timeout: 200ms, \
             static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
        );
        fs::write(&config, text).expect("a file can be written");
        let port = free_port();
        let mut command = Command::new(need::program("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", files.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg(format!("--enable-feature={features}"));
        let program = Program::start(&mut command);
        let is_ready = |lines: &[String]| lines.iter().any(|line| line.contains("ready to receive web")).then_some(());
        let ready = program.stderr.until(LONG, is_ready);
        assert!(ready.is_some(), "Prometheus does not start: {:#?}", program.stderr.so_far());
        Self { port, program, _folder: files }
    }

    /// What its interface answers at a path.
    ///
    /// # Panics
    /// If that is no success.
    #[must_use]
    pub fn ask(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let encoded = |text: &str| {
            text.bytes().fold(String::new(), |out, byte| match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => out + &char::from(byte).to_string(),
                other => format!("{out}%{other:02X}"),
            })
        };
        let query: Vec<String> = parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let target = format!("/api/v1/{path}?{}", query.join("&"));
        let response = Connection::to(self.port).request("GET", &target, &["Connection: close"], b"");
        let mut answer: Value = serde_json::from_str(response.text()).expect("it answers in JSON");
        assert_eq!(answer["status"], "success", "{parameters:?}: {answer}");
        answer["data"].take()
    }

    /// The series that a query gives.
    ///
    /// # Panics
    /// If it gives something else.
    #[must_use]
    pub fn series(&self, query: &str) -> Vec<Value> {
        let mut data = self.ask("query", &[("query", query)]);
        match data["result"].take() {
            Value::Array(series) => series,
            other => panic!("{query}: {other}"),
        }
    }

    /// The one number that a query gives; `None`: none.
    ///
    /// # Panics
    /// If it gives several.
    #[must_use]
    pub fn number(&self, query: &str) -> Option<f64> {
        let results = self.series(query);
        assert!(results.len() < 2, "{query}: {results:?}");
        results.first()?["value"][1].as_str()?.parse().ok()
    }

    /// Waits until it has a number.
    ///
    /// # Panics
    /// If it does not come to have it.
    pub fn until(&self, query: &str, expected: f64) {
        poll(&format!("{query} is {expected}: {:#?}", self.program.stderr.so_far()), || {
            (self.number(query) == Some(expected)).then_some(())
        });
    }
}
