//! Calls over connections of the service's own: the task that makes a call writes it and reads the answer itself.

use std::{collections::HashMap, sync::Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Connections to each back end that nobody uses just now.
pub(crate) struct Client(HashMap<String, Mutex<Vec<TcpStream>>>);

impl Client {
    pub(crate) fn to(ports: &[String]) -> Self {
        Self(ports.iter().map(|port| (port.clone(), Mutex::default())).collect())
    }

    pub(crate) async fn call(&self, port: &str, path: &str, context: Option<&str>) {
        let idle = self.0[port].lock().unwrap().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap(),
        };
        let context = context.map_or_else(String::new, |context| format!("traceparent: {context}\r\n"));
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n{context}\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !is_whole(&answer) {
            assert!(connection.read_buf(&mut answer).await.unwrap() > 0, "the back end has closed");
        }
        self.0[port].lock().unwrap().push(connection);
    }
}

/// Whether it is all that the back end answers: a head with the length of the body, and that.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer).to_ascii_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).expect("it has a length");
    body.len() >= length.trim().parse().unwrap()
}
