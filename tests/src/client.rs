//! An HTTP client whose every byte the test chooses.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use crate::LONG;

/// A connection.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
    local: Option<SocketAddr>,
}

trait Stream: Read + Write + Send {
    fn finish(&self);
}

impl Stream for TcpStream {
    fn finish(&self) {
        self.shutdown(std::net::Shutdown::Write).expect("the sending side can be closed");
    }
}

impl Stream for UnixStream {
    fn finish(&self) {
        self.shutdown(std::net::Shutdown::Write).expect("the sending side can be closed");
    }
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status.
    pub status: u16,
    /// Header lines as they came.
    pub headers: Vec<String>,
    /// Body, without transfer coding.
    pub body: Vec<u8>,
    /// From the moment the request was about to be sent to the last byte.
    pub took: Duration,
}

impl Response {
    /// The body as text.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.headers.iter().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

impl Connection {
    /// To a port of this host.
    ///
    /// # Panics
    /// If nobody listens there.
    #[must_use]
    pub fn to(port: u16) -> Self {
        Self::to_address(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// To an address.
    ///
    /// # Panics
    /// If nobody listens there.
    #[must_use]
    pub fn to_address(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_read_timeout(Some(LONG)).expect("a time limit");
        stream.set_nodelay(true).expect("no delay");
        let local = stream.local_addr().ok();
        Self { stream: BufReader::new(Box::new(stream)), local }
    }

    /// To a unix socket.
    ///
    /// # Panics
    /// If nobody listens there.
    #[must_use]
    pub fn to_unix(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap_or_else(|error| panic!("cannot connect to {path:?}: {error}"));
        stream.set_read_timeout(Some(LONG)).expect("a time limit");
        Self { stream: BufReader::new(Box::new(stream)), local: None }
    }

    /// The port of this end.
    ///
    /// # Panics
    /// If it has none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.local.expect("a TCP connection").port()
    }

    /// Sends these bytes.
    ///
    /// # Panics
    /// If the server does not take them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_mut().write_all(bytes.as_ref()).expect("the server takes what is sent");
    }

    /// Sends no more.
    pub fn finish(&mut self) {
        self.stream.get_ref().finish();
    }

    /// A request and its response.
    #[must_use]
    pub fn request(&mut self, method: &str, target: &str, headers: &[&str], body: &[u8]) -> Response {
        let started = Instant::now();
        self.send(request(method, target, headers, body));
        let response = self.response(method == "HEAD");
        Response { took: started.elapsed(), ..response }
    }

    /// The same with GET and nothing else.
    #[must_use]
    pub fn get(&mut self, target: &str) -> Response {
        self.request("GET", target, &[], b"")
    }

    /// The next response, final or not. (`took`: since it was asked for.)
    ///
    /// # Panics
    /// If none comes, or a malformed one.
    #[must_use]
    pub fn response(&mut self, is_head: bool) -> Response {
        let started = Instant::now();
        let status_line = self.line();
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {status_line:?}"));
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            headers.push(line);
        }
        let mut response = Response { status, headers, body: Vec::new(), took: Duration::ZERO };
        let has_body = !is_head && !matches!(status, 100..200 | 204 | 304);
        if has_body {
            let length = response.header("content-length").map(|length| length.parse().expect("a length"));
            response.body =
                if response.header("transfer-encoding").is_some() { self.chunks() } else { self.bytes(length) };
        }
        Response { took: started.elapsed(), ..response }
    }

    /// Whether the server has closed, with nothing left to read.
    #[must_use]
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.fill_buf(), Ok([]) | Err(_))
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a line of a response");
        assert!(line.ends_with("\r\n"), "the response ends within its head, after {line:?}");
        line.trim_end().to_owned()
    }

    fn bytes(&mut self, length: Option<u64>) -> Vec<u8> {
        let mut body = Vec::new();
        let read = self.stream.by_ref().take(length.unwrap_or(u64::MAX)).read_to_end(&mut body).expect("a body");
        assert!(length.is_none_or(|length| length == read as u64), "the body ends after {read} of {length:?} bytes");
        body
    }

    fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = self.line();
            let size = line.split(';').next().unwrap_or_default();
            let size = u64::from_str_radix(size, 16).unwrap_or_else(|_| panic!("no size of a chunk: {line:?}"));
            if size == 0 {
                while !self.line().is_empty() {}
                return body;
            }
            body.extend(self.bytes(Some(size)));
            assert_eq!(self.line(), "", "a chunk ends with an empty line");
        }
    }
}

/// The bytes of a request, with `Host: test.example` and, where there is a body, its length.
#[must_use]
pub fn request(method: &str, target: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut text = format!("{method} {target} HTTP/1.1\r\nHost: test.example\r\n");
    if !body.is_empty() || method == "POST" {
        text += &format!("Content-Length: {}\r\n", body.len());
    }
    for header in headers {
        text += header;
        text += "\r\n";
    }
    text += "\r\n";
    [text.as_bytes(), body].concat()
}
