//! What `init.sh` has programs send, and what the spans of it must say.

/// Size of `/large.bin`.
pub(super) const LARGE_BYTES: usize = 300_000;

/// Requests of one kind.
pub(super) struct Scenario {
    /// As `init.sh` calls it.
    pub(super) name: &'static str,
    /// Where its server listens: tells its spans from those of others.
    pub(super) port: u64,
    pub(super) path: &'static str,
    /// How many are sent.
    pub(super) requests: usize,
    pub(super) status: u64,
    /// Length of a response's body, where it is known for certain.
    pub(super) body: Option<usize>,
    /// The server's `url.scheme`.
    pub(super) scheme: &'static str,
    /// The client's `server.address`.
    pub(super) server: &'static str,
    /// What the client and the server call themselves.
    pub(super) executables: [&'static str; 2],
}

const HTTP1: Scenario = Scenario {
    name: "http1",
    port: 8080,
    path: "/hello.txt",
    requests: 12,
    status: 200,
    body: Some(6),
    scheme: "http",
    server: "127.0.0.1",
    executables: ["curl", "busybox"],
};

const HTTP2: Scenario =
    Scenario { name: "http2", port: 8081, requests: 200, executables: ["h2load", "nghttpd"], ..HTTP1 };

pub(super) const ALL: &[Scenario] = &[
    HTTP1,
    Scenario { path: "/missing", requests: 8, status: 404, body: None, ..HTTP1 },
    HTTP2,
    Scenario { name: "http2-large", path: "/large.bin", requests: 20, body: Some(LARGE_BYTES), ..HTTP2 },
    Scenario { name: "tls", port: 8082, requests: 40, scheme: "https", ..HTTP2 },
    Scenario { name: "dns", port: 8083, requests: 6, server: "shop.test", ..HTTP1 },
];

/// Requests of all kinds.
pub(super) fn requests() -> usize {
    ALL.iter().map(|scenario| scenario.requests).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_waits_for_two_spans_of_each_request() {
        let waits = format!("-ge {} ]", 2 * requests());
        assert!(include_str!("../init.sh").contains(&waits), "{waits}");
    }

    #[test]
    fn the_guest_waits_for_every_port() {
        let init = include_str!("../init.sh");
        for scenario in ALL {
            assert!(init.contains(&format!(" {:X}", scenario.port)), "{}", scenario.name);
        }
    }
}
