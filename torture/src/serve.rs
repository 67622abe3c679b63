//! The server of ours, a process of its own: hyper in the clear and over rustls, HTTP/1.1, HTTP/2 and gRPC, each on the same
//! two ports. It answers as a request's target says, and serves until its input ends.

use std::{
    convert::Infallible,
    fs,
    io::Read as _,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll},
    time::Duration,
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::mpsc,
};
use tokio_rustls::TlsAcceptor;

use crate::{
    ask::{Answer, PAUSE_MS, Shape},
    client::message,
};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A body in pieces, which ends when nobody can send more of them. `http_body_util::channel::Channel` ends at times before its last piece:
/// it looks first whether there is one, then whether its sender is gone, and both may come in between.
struct Pieces(mpsc::Receiver<Frame<Bytes>>);

impl Pieces {
    /// Pieces of it wait at most.
    const WAITING: usize = 4;

    fn new() -> (mpsc::Sender<Frame<Bytes>>, Self) {
        let (sender, pieces) = mpsc::channel(Self::WAITING);
        (sender, Self(pieces))
    }
}

impl hyper::body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(Ok))
    }
}

/// Runs it.
///
/// # Errors
/// If it cannot listen.
pub(crate) fn main(certificate: &Path, key: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let chain = CertificateDer::from_pem_slice(&fs::read(certificate)?).context("no certificate")?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(key)?).context("no key")?;
    let mut config = rustls::ServerConfig::builder().with_no_client_auth().with_single_cert(vec![chain], key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tls = TlsAcceptor::from(Arc::new(config));
    let listen = || runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).context("cannot listen");
    let (clear, secure) = (listen()?, listen()?);
    println!("listening {} {}", clear.local_addr()?.port(), secure.local_addr()?.port());
    runtime.spawn(accept(clear, None));
    runtime.spawn(accept(secure, Some(tls)));
    let _end = std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>) {
    while let Ok((stream, _)) = listener.accept().await {
        let _set = stream.set_nodelay(true);
        let tls = tls.clone();
        tokio::spawn(async move {
            match tls {
                None => serve(stream).await,
                Some(tls) => {
                    if let Ok(stream) = tls.accept(stream).await {
                        serve(stream).await;
                    }
                }
            }
        });
    }
}

/// Serves a connection.
pub(crate) async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(200);
    // How a connection ends is the client's business.
    let _end = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let target = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let is_call = request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
    let is_head = request.method() == http::Method::HEAD;
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    let Ok(answer) = target.parse::<Answer>() else {
        return Ok(plain(StatusCode::IM_A_TEAPOT, Bytes::new()));
    };
    tokio::time::sleep(Duration::from_millis(answer.delay_ms)).await;
    if is_call {
        return Ok(call(answer));
    }
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::IM_A_TEAPOT);
    if answer.shape == Shape::Whole || is_head || !answer.has_body() {
        return Ok(plain(status, Bytes::from(vec![b'a'; answer.bytes])));
    }
    let (sender, body) = Pieces::new();
    tokio::spawn(async move {
        for piece in answer.pieces() {
            if sender.send(Frame::data(Bytes::from(vec![b'a'; piece]))).await.is_err() {
                return;
            }
            pause(answer).await;
        }
    });
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    Ok(response)
}

async fn pause(answer: Answer) {
    if answer.shape == Shape::Streamed {
        tokio::time::sleep(Duration::from_millis(PAUSE_MS)).await;
    }
}

fn plain(status: StatusCode, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed_unsync());
    *response.status_mut() = status;
    response
}

fn call(answer: Answer) -> Response<Body> {
    let builder = Response::builder().header("content-type", "application/grpc");
    if answer.status != 0 {
        // Trailers only.
        let response = builder.header("grpc-status", answer.status).body(Full::new(Bytes::new()).boxed_unsync());
        return response.expect("these headers are valid");
    }
    let (sender, body) = Pieces::new();
    tokio::spawn(async move {
        let pieces = if answer.bytes == 0 { vec![0] } else { answer.pieces() };
        for piece in pieces {
            if sender.send(Frame::data(message(piece))).await.is_err() {
                return;
            }
            pause(answer).await;
        }
        let _gone = sender
            .send(Frame::trailers(HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static("0"),
            )])))
            .await;
    });
    builder.body(body.boxed_unsync()).expect("these headers are valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_its_last_piece_however_soon_its_sender_is_gone() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("threads");
        runtime.block_on(async {
            for _ in 0..100_000 {
                let (sender, body) = Pieces::new();
                let read = tokio::spawn(body.collect());
                sender.send(Frame::data(Bytes::from_static(b"last"))).await.expect("it is read");
                drop(sender);
                let whole = read.await.expect("it is read").expect("nothing fails").to_bytes();
                assert_eq!(whole, "last");
            }
        });
    }
}
