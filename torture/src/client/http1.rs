//! HTTP/1.1, byte by byte: requests in flight at once, bodies in one write or several, answers before the request's end.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    sync::{Semaphore, mpsc},
};

use super::{Io, Kept, Queue, Shared, Stage, next, now};
use crate::ask::{Ask, PIECE, Send, Told};

/// Makes requests until there are none left, or the connection has done its part.
pub(super) async fn requests(
    shared: &Shared,
    stream: Box<dyn Io>,
    port: u16,
    queue: &Queue,
    before: usize,
) -> Result<Kept> {
    let depth = shared.orders.streams.max(1);
    let (read, mut write) = tokio::io::split(stream);
    let mut read = Reader { stream: read, buffer: Vec::new(), at: 0 };
    let room = Arc::new(Semaphore::new(depth));
    let (in_flight, mut flying) = mpsc::unbounded_channel::<(Ask, u64)>();
    let asks = async {
        let mut sent = 0;
        let mut bytes = Vec::new();
        loop {
            if sent == before {
                shared.until(Stage::Go).await;
            }
            let is_over = shared.is_enough() || (shared.orders.lifetime > 0 && sent >= shared.orders.lifetime);
            // In a batch as many as there is room for go in one write.
            let room_left = room.available_permits() > 0;
            if !bytes.is_empty() && (is_over || !room_left || sent == before) {
                say(&mut write, &bytes).await?;
                bytes.clear();
            }
            if is_over {
                break;
            }
            room.acquire().await.context("closed")?.forget();
            shared.pace().await;
            let Some(ask) = next(queue) else { break };
            sent += 1;
            let (head, body) = request(&ask);
            let _read_to_the_end = in_flight.send((ask, now()));
            bytes.extend(head);
            if shared.orders.is_batched && body.len() <= 1 && sent != before {
                bytes.extend(body.into_iter().flatten());
                continue;
            }
            say(&mut write, &bytes).await?;
            bytes.clear();
            for piece in body {
                say(&mut write, &piece).await?;
            }
        }
        if !bytes.is_empty() {
            say(&mut write, &bytes).await?;
        }
        drop(in_flight);
        anyhow::Ok(write)
    };
    let answers = async {
        let mut place = 0;
        let mut unreturned = 0;
        let mut error = None;
        while let Some((ask, start)) = flying.recv().await {
            let answered = match error {
                None => read.response(&ask.method).await,
                Some(_) => Err(anyhow::anyhow!("after an error")),
            };
            let mut told = Told {
                number: ask.number,
                start,
                end: now(),
                status: None,
                bytes: 0,
                port,
                place,
                again: false,
                error: None,
            };
            match answered {
                Ok((status, bytes)) => (told.status, told.bytes) = (Some(status), bytes),
                Err(what) => {
                    told.error = Some(format!("{what:#}"));
                    error = error.or(Some(what));
                    // What was to be sent yet is no more.
                    room.close();
                }
            }
            shared.tell(told);
            place += 1;
            unreturned += 1;
            if !shared.orders.is_batched || unreturned == depth || place <= before {
                room.add_permits(unreturned);
                unreturned = 0;
            }
            if place == before {
                let _alive = shared.connected.send(());
            }
        }
        match error {
            Some(error) => Err(error),
            None => Ok(read),
        }
    };
    let (write, read) = tokio::join!(asks, answers);
    let (write, read) = (write?, read?);
    if shared.orders.lifetime > 0 {
        drop((write, read));
        return Ok(None);
    }
    Ok(Some(Box::new((write, read))))
}

/// Writes, and leaves nothing behind: what tokio-rustls has taken and its socket has not waits for the next write or flush.
async fn say(to: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<()> {
    to.write_all(bytes).await?;
    Ok(to.flush().await?)
}

/// The head, and the pieces of the body.
fn request(ask: &Ask) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut head = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", ask.method, ask.target());
    let body = match ask.send {
        Send::Nothing => Vec::new(),
        Send::Whole(len) => {
            head += &format!("Content-Length: {len}\r\n");
            if len > 0 { vec![vec![b'q'; len]] } else { Vec::new() }
        }
        Send::Pieces(len) => {
            head += "Transfer-Encoding: chunked\r\n";
            let mut left = len;
            let mut pieces = Vec::new();
            while left > 0 {
                let piece = left.min(PIECE);
                let mut bytes = format!("{piece:x}\r\n").into_bytes();
                bytes.resize(bytes.len() + piece, b'q');
                bytes.extend(b"\r\n");
                pieces.push(bytes);
                left -= piece;
            }
            pieces.push(b"0\r\n\r\n".to_vec());
            pieces
        }
    };
    head += "\r\n";
    (head.into_bytes(), body)
}

struct Reader<R> {
    stream: R,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: AsyncRead + Unpin> Reader<R> {
    /// Reads more; an error at the end of the stream.
    async fn more(&mut self) -> Result<()> {
        self.buffer.drain(..self.at);
        self.at = 0;
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("closed by the server");
        }
        Ok(())
    }

    async fn line(&mut self) -> Result<String> {
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(end) = rest.windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&rest[..end]).into_owned();
                self.at += end + 2;
                return Ok(line);
            }
            self.more().await?;
        }
    }

    async fn skip(&mut self, len: usize) -> Result<()> {
        let mut left = len;
        loop {
            let here = left.min(self.buffer.len() - self.at);
            self.at += here;
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    /// Status and bytes of the body of the next final response.
    async fn response(&mut self, method: &str) -> Result<(u16, usize)> {
        loop {
            let line = self.line().await?;
            let status = line.split(' ').nth(1).and_then(|word| word.parse::<u16>().ok());
            let status = status.with_context(|| format!("no status line: {line:?}"))?;
            let (mut length, mut is_chunked) = (None, false);
            loop {
                let line = self.line().await?.to_ascii_lowercase();
                let Some((name, value)) = line.split_once(':') else { break };
                match name {
                    "content-length" => length = value.trim().parse::<usize>().ok(),
                    "transfer-encoding" => is_chunked = value.contains("chunked"),
                    _ => {}
                }
            }
            if status < 200 {
                continue;
            }
            if method == "HEAD" || matches!(status, 204 | 304) {
                return Ok((status, 0));
            }
            if !is_chunked {
                let length = length.context("neither a length nor chunks")?;
                self.skip(length).await?;
                return Ok((status, length));
            }
            let mut total = 0;
            loop {
                let line = self.line().await?;
                let size = line.split(';').next().unwrap_or_default();
                let size = usize::from_str_radix(size.trim(), 16).with_context(|| format!("no chunk: {line:?}"))?;
                if size == 0 {
                    while !self.line().await?.is_empty() {}
                    return Ok((status, total));
                }
                self.skip(size).await?;
                let _end = self.line().await?;
                total += size;
            }
        }
    }
}
