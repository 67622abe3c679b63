//! gRPC on tonic, with messages that are bytes already.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::{Buf, BufMut};
use futures_util::{Stream, StreamExt, stream};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;
use tonic::{
    Code, Request, Response, Status, Streaming,
    body::Body,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::{Channel, Endpoint},
};
use tower_service::Service;

use crate::line;

const SLEEP: Duration = Duration::from_millis(60);
const PAUSE: Duration = Duration::from_millis(20);

type Messages = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;

#[derive(Clone, Copy)]
struct Plain;

impl Codec for Plain {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Plain {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

/// A method, as the service that tonic takes it for.
struct Method<F>(F);

impl<F, Fut, M, R> Service<Request<M>> for Method<F>
where
    F: FnMut(Request<M>) -> Fut,
    Fut: Future<Output = Result<Response<R>, Status>>,
{
    type Response = Response<R>;
    type Error = Status;
    type Future = Fut;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<M>) -> Fut {
        (self.0)(request)
    }
}

pub(crate) async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening {}", listener.local_addr().unwrap().port());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            let service = hyper::service::service_fn(answer);
            // A client may go as it likes.
            let _end = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

fn told<T>(message: T) -> Ready<Result<Response<T>, Status>> {
    ready(Ok(Response::new(message)))
}

fn messages(all: Vec<Result<Vec<u8>, Status>>) -> Messages {
    Box::pin(stream::iter(all))
}

/// Five messages with a pause between two.
fn numbers() -> impl Stream<Item = Vec<u8>> + Send {
    stream::unfold(0, |number| async move {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        (number < 5).then(|| (vec![b'0' + number], number + 1))
    })
}

async fn answer(request: http::Request<hyper::body::Incoming>) -> Result<http::Response<Body>, Infallible> {
    let mut grpc = tonic::server::Grpc::new(Plain);
    let path = request.uri().path().to_owned();
    let response = match path.strip_prefix("/shop.Orders/").unwrap_or_default() {
        "Get" => {
            let get = |request: Request<Vec<u8>>| told(request.into_inner());
            grpc.unary(Method(get), request).await
        }
        "Sleep" => {
            let sleep = |_: Request<Vec<u8>>| async {
                tokio::time::sleep(SLEEP).await;
                Ok(Response::new(b"slept".to_vec()))
            };
            grpc.unary(Method(sleep), request).await
        }
        "Missing" => {
            let missing = |_: Request<Vec<u8>>| ready(Err::<Response<Vec<u8>>, _>(Status::not_found("no such order")));
            grpc.unary(Method(missing), request).await
        }
        "Hang" => {
            let hang = |_: Request<Vec<u8>>| std::future::pending::<Result<Response<Vec<u8>>, Status>>();
            grpc.unary(Method(hang), request).await
        }
        "List" => {
            let list = |_: Request<Vec<u8>>| told(Box::pin(numbers().map(Ok)) as Messages);
            grpc.server_streaming(Method(list), request).await
        }
        "Broken" => {
            let broken = |_: Request<Vec<u8>>| {
                let gone = Status::data_loss("the rest is gone");
                told(messages(vec![Ok(b"one".to_vec()), Ok(b"two".to_vec()), Err(gone)]))
            };
            grpc.server_streaming(Method(broken), request).await
        }
        "Watch" => {
            let watch = |_: Request<Vec<u8>>| {
                told(Box::pin(messages(vec![Ok(b"first".to_vec())]).chain(stream::pending())) as Messages)
            };
            grpc.server_streaming(Method(watch), request).await
        }
        "Upload" => {
            let upload = |request: Request<Streaming<Vec<u8>>>| async {
                let count = request.into_inner().count().await;
                Ok(Response::new(count.to_string().into_bytes()))
            };
            grpc.client_streaming(Method(upload), request).await
        }
        "Chat" => {
            let chat = |request: Request<Streaming<Vec<u8>>>| told(request.into_inner());
            grpc.streaming(Method(chat), request).await
        }
        _ => Status::unimplemented("").into_http(),
    };
    Ok(response)
}

/// Prints how a call ended, and how long it took.
async fn timed(method: &str, work: impl Future<Output = Result<(), Status>>) {
    let began = Instant::now();
    let code = work.await.map_or_else(|status| status.code(), |()| Code::Ok);
    let name = match code {
        Code::Ok => "OK",
        Code::NotFound => "NOT_FOUND",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::DataLoss => "DATA_LOSS",
        // What tonic says of its own deadline.
        Code::Cancelled if method == "Hang" => "DEADLINE_EXCEEDED",
        Code::Cancelled => "CANCELLED",
        other => panic!("{method}: {other:?}"),
    };
    println!("called {method} {name} {}", began.elapsed().as_nanos());
}

#[derive(Clone)]
struct Client(Channel);

impl Client {
    async fn grpc(&self) -> tonic::client::Grpc<Channel> {
        let mut grpc = tonic::client::Grpc::new(self.0.clone());
        grpc.ready().await.unwrap();
        grpc
    }

    async fn ask(&self, method: &str, deadline: Option<Duration>) {
        let work = async {
            let mut request = Request::new(b"hello".to_vec());
            if let Some(deadline) = deadline {
                request.set_timeout(deadline);
            }
            self.grpc().await.unary(request, path(method), Plain).await.map(drop)
        };
        timed(method, work).await;
    }

    /// Sends messages, and takes as many as there are, or the first.
    async fn open(&self, method: &str, messages: impl Stream<Item = Vec<u8>> + Send + 'static, first: bool) {
        let work = async {
            let answer = self.grpc().await.streaming(Request::new(messages), path(method), Plain).await?;
            let mut answer = answer.into_inner();
            while answer.message().await?.is_some() {
                if first {
                    // Dropping the stream resets it.
                    return Err(Status::cancelled(""));
                }
            }
            Ok(())
        };
        timed(method, work).await;
    }
}

fn path(method: &str) -> http::uri::PathAndQuery {
    format!("/shop.Orders/{method}").parse().unwrap()
}

pub(crate) async fn call(port: &str) {
    let client = Client(Endpoint::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect_lazy());
    line().await;
    for _ in 0..20 {
        client.ask("Get", None).await;
    }
    let many: Vec<_> = (0..30)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.ask("Get", None).await })
        })
        .collect();
    for one in many {
        one.await.unwrap();
    }
    for method in ["Sleep", "Missing", "Nowhere"] {
        client.ask(method, None).await;
    }
    let once = || stream::iter([b"all".to_vec()]);
    client.open("List", once(), false).await;
    client.open("Broken", once(), false).await;
    client.open("Upload", numbers(), false).await;
    client.open("Chat", numbers(), false).await;
    client.ask("Hang", Some(Duration::from_millis(150))).await;
    client.open("Watch", once(), true).await;
    println!("done");
    line().await;
}
