//! HTTP/2 and gRPC: streams at once on each connection.

use anyhow::{Context as _, Result};
use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::task::JoinSet;

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
    let (sender, connection) = h2::client::handshake(stream).await.context("no preface")?;
    let driver = tokio::spawn(connection);
    let mut place = 0;
    for _ in 0..before {
        let Some(ask) = next(queue) else { break };
        one(shared, &sender, ask, port, place).await;
        place += 1;
    }
    if before > 0 {
        let _alive = shared.connected.send(());
    }
    shared.until(Stage::Go).await;
    let most = if shared.orders.lifetime > 0 { shared.orders.lifetime } else { usize::MAX };
    let share = most.div_ceil(shared.orders.streams);
    let mut tasks = JoinSet::new();
    let place = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(place));
    for _ in 0..shared.orders.streams.min(most) {
        let (shared, sender, queue) = (shared.clone(), sender.clone(), queue.clone());
        let place = std::sync::Arc::clone(&place);
        tasks.spawn(async move {
            for _ in 0..share {
                if shared.is_enough() {
                    break;
                }
                shared.pace().await;
                let Some(ask) = next(&queue) else { break };
                let place = place.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                if !one(&shared, &sender, ask, port, place).await {
                    return false;
                }
            }
            true
        });
    }
    let mut is_well = true;
    while let Some(done) = tasks.join_next().await {
        is_well &= done.unwrap_or(false);
    }
    anyhow::ensure!(is_well, "requests failed");
    if shared.orders.lifetime > 0 {
        drop(sender);
        let _ended = driver.await;
        return Ok(None);
    }
    Ok(Some(Box::new(sender)))
}

/// One request; whether it went well.
async fn one(shared: &Shared, sender: &SendRequest<Bytes>, ask: Ask, port: u16, place: usize) -> bool {
    let mut told = Told {
        number: ask.number,
        start: now(),
        end: 0,
        status: None,
        bytes: 0,
        port,
        place,
        again: false,
        error: None,
    };
    match exchange(shared, sender, &ask, &mut told.start).await {
        Ok((status, bytes)) => (told.status, told.bytes) = (status, bytes),
        Err(error) => told.error = Some(format!("{error:#}")),
    }
    told.end = now();
    let is_well = told.error.is_none();
    shared.tell(told);
    is_well
}

/// Status and length of the answer. A call that its server ended before it had all of the request may be without a status: h2 drops
/// trailers where the stream is reset behind them.
async fn exchange(
    shared: &Shared,
    sender: &SendRequest<Bytes>,
    ask: &Ask,
    start: &mut u64,
) -> Result<(Option<u16>, usize)> {
    let orders = &shared.orders;
    let mut sender = sender.clone().ready().await?;
    *start = now();
    let scheme = if orders.wire.is_tls() { "https" } else { "http" };
    let mut request = Request::builder().method(ask.method.as_str()).uri(format!(
        "{scheme}://localhost:{}{}",
        orders.port,
        ask.target()
    ));
    if ask.is_call {
        request = request.header("content-type", "application/grpc").header("te", "trailers");
    } else if let Send::Whole(len) = ask.send {
        request = request.header("content-length", len);
    }
    let pieces = body(ask);
    let (response, mut stream) = sender.send_request(request.body(())?, pieces.is_empty())?;
    let count = pieces.len();
    for (i, piece) in pieces.into_iter().enumerate() {
        // Answered before its end, it need not be sent to it.
        if stream.send_data(piece, i + 1 == count).is_err() {
            break;
        }
    }
    let response = response.await?;
    let status = response.status().as_u16();
    let code = response.headers().get("grpc-status").and_then(|code| code.to_str().ok()?.parse().ok());
    let mut body = response.into_body();
    let mut bytes = 0;
    while let Some(piece) = body.data().await {
        let piece = piece?;
        bytes += piece.len();
        body.flow_control().release_capacity(piece.len())?;
    }
    let trailers = body.trailers().await?;
    if !ask.is_call {
        return Ok((Some(status), bytes));
    }
    let trailer = trailers.and_then(|trailers| trailers.get("grpc-status")?.to_str().ok()?.parse().ok());
    Ok((code.or(trailer), bytes))
}

/// Pieces of the body: DATA of its own each, at least one for a call.
fn body(ask: &Ask) -> Vec<Bytes> {
    let sizes = match ask.send {
        Send::Nothing => Vec::new(),
        Send::Whole(len) => vec![len],
        Send::Pieces(len) => {
            let mut sizes = vec![PIECE; len / PIECE];
            sizes.push(len % PIECE);
            sizes
        }
    };
    sizes.into_iter().map(|size| if ask.is_call { message(size) } else { Bytes::from(vec![b'q'; size]) }).collect()
}

/// A message of gRPC.
pub(crate) fn message(size: usize) -> Bytes {
    let mut bytes = vec![0];
    bytes.extend((size as u32).to_be_bytes());
    bytes.resize(bytes.len() + size, b'm');
    bytes.into()
}
