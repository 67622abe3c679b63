//! HTTP on hyper.

use std::{convert::Infallible, time::Duration};

use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use tokio::net::TcpListener;

use crate::line;

pub(crate) async fn serve() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening {}", listener.local_addr().unwrap().port());
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let builder = auto::Builder::new(TokioExecutor::new());
            // A client may go as it likes.
            let _end = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    if path == "/sleep" {
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let status: u16 = path.strip_prefix("/status/").map_or(200, |status| status.parse().unwrap());
    let body = if body.is_empty() { Bytes::from_static(b"hello") } else { body };
    Ok(Response::builder().status(status).body(Full::new(body)).unwrap())
}

/// For each line `COUNT METHOD URL` so many requests at once; says the status of the last.
pub(crate) async fn ask() {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    println!("ready");
    while let Some(line) = line().await {
        let [count, method, url] = line.split_whitespace().collect::<Vec<_>>()[..] else { panic!("{line}") };
        let method: Method = method.parse().unwrap();
        let body = if method == Method::POST { "12345" } else { "" };
        let requests: Vec<_> = (0..count.parse::<usize>().unwrap())
            .map(|_| {
                let request = Request::builder().method(&method).uri(url).body(Full::from(body)).unwrap();
                let client = client.clone();
                tokio::spawn(async move {
                    let response = client.request(request).await.unwrap();
                    let status = response.status().as_u16();
                    response.into_body().collect().await.unwrap();
                    status
                })
            })
            .collect();
        let mut last = 0;
        for request in requests {
            last = request.await.unwrap();
        }
        println!("done {last}");
    }
}
