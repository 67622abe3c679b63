//! What a real client and a real server (the `h2` crate) send each other.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf};

use super::{super::*, wire::*};
use crate::model::exchange::Outcome;

const REQUESTS: usize = 300;
const CONCURRENT: usize = 100;

type Log = Arc<Mutex<Vec<Moved>>>;

/// Passes bytes on and writes them down.
async fn pass(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, side: Side, log: Log) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        {
            let mut log = log.lock().unwrap();
            let at_ns = 1000 * (log.len() as u64 + 1);
            log.push(Moved { side, at_ns, bytes: buffer[..len].to_vec() });
        }
        if to.write_all(&buffer[..len]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
}

async fn serve(io: DuplexStream) {
    let mut connection =
        h2::server::Builder::new().max_concurrent_streams(1000).handshake::<_, &[u8]>(io).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        tokio::spawn(async move {
            let nth: usize = request.uri().path().rsplit('/').next().unwrap().parse().unwrap();
            let mut body = request.into_body();
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
            }
            let response = http::Response::builder().status(200 + nth as u16 % 7).body(()).unwrap();
            let mut send = respond.send_response(response, nth.is_multiple_of(3)).unwrap();
            if !nth.is_multiple_of(3) {
                send.send_data(&[7; 500][..nth], nth % 3 == 1).unwrap();
            }
            if nth % 3 == 2 {
                let trailers = http::HeaderMap::from_iter([(
                    http::HeaderName::from_static("checksum"),
                    http::HeaderValue::from(nth),
                )]);
                send.send_trailers(trailers).unwrap();
            }
        });
    }
}

/// The log of a connection with `REQUESTS` requests, up to `CONCURRENT` at once.
async fn record() -> Vec<Moved> {
    let log = Log::default();
    let (client, client_far) = tokio::io::duplex(64 * 1024);
    let (server, server_far) = tokio::io::duplex(64 * 1024);
    let (from_client, to_client) = tokio::io::split(client_far);
    let (from_server, to_server) = tokio::io::split(server_far);
    tokio::spawn(pass(from_client, to_server, Side::Requests, log.clone()));
    tokio::spawn(pass(from_server, to_client, Side::Responses, log.clone()));
    tokio::spawn(serve(server));
    let (client, connection) = h2::client::handshake(client).await.unwrap();
    let connection = tokio::spawn(connection);
    for batch in 0..REQUESTS / CONCURRENT {
        let mut responses = Vec::new();
        for nth in batch * CONCURRENT..(batch + 1) * CONCURRENT {
            let mut client = client.clone().ready().await.unwrap();
            let request = http::Request::builder()
                .method(["GET", "POST", "PATCH"][nth % 3])
                .uri(format!("http://shop/item/{nth}"))
                .header("x-session", format!("{}", nth % 40))
                .body(())
                .unwrap();
            let has_body = !nth.is_multiple_of(3);
            let (response, mut send) = client.send_request(request, !has_body).unwrap();
            if has_body {
                send.send_data(vec![1; nth].into(), true).unwrap();
            }
            responses.push(response);
        }
        for response in responses {
            let mut body = response.await.unwrap().into_body();
            while let Some(Ok(piece)) = body.data().await {
                let _ = body.flow_control().release_capacity(piece.len());
            }
            let _ = body.trailers().await;
        }
    }
    drop(client);
    let _ = connection.await;
    std::mem::take(&mut log.lock().unwrap())
}

fn nth(target: &str) -> usize {
    target.rsplit('/').next().unwrap().parse().unwrap()
}

#[test]
fn every_exchange_of_a_real_connection_is_told_and_in_mid_life_none_is_told_wrong() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pieces = runtime.block_on(record());

    let mut reader = Reader::new(Role::Server);
    reader.feed_all(&pieces);
    assert_eq!(reader.session.take_anomalies(), Anomalies::default());
    let exchanges = reader.close();
    assert_eq!(exchanges.len(), REQUESTS);
    let mut seen = HashMap::new();
    for exchange in &exchanges {
        let http = http(exchange);
        let nth = nth(http.target.as_ref().unwrap());
        assert_eq!(seen.insert(nth, ()), None);
        assert_eq!(exchange.outcome, Outcome::Complete);
        assert_eq!(http.method.as_deref(), Some(["GET", "POST", "PATCH"][nth % 3]));
        assert_eq!((http.host.as_deref(), http.scheme.as_deref()), (Some("shop"), Some("http")));
        assert_eq!(http.status, Some(200 + nth as u16 % 7));
        assert_eq!(http.request_body_bytes, Some(if nth.is_multiple_of(3) { 0 } else { nth as u64 }));
        assert_eq!(http.response_body_bytes, Some(if nth.is_multiple_of(3) { 0 } else { nth as u64 }));
        assert_eq!(http.unknown_name, None);
    }

    // `h2` never puts the path into the table, so it tells which request it is.
    let mut told = 0;
    for attached in 1..pieces.len() {
        let mut reader = Reader::new(Role::Client);
        reader.feed_all(&pieces[attached..]);
        for exchange in reader.close() {
            let http = http(&exchange);
            let nth = nth(http.target.as_ref().unwrap());
            assert!(http.method.as_ref().is_none_or(|method| method == ["GET", "POST", "PATCH"][nth % 3]));
            assert!(http.status.is_none_or(|status| status == 200 + nth as u16 % 7));
            told += 1;
        }
    }
    assert!(told > REQUESTS, "{told}");
}
