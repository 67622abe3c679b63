//! The gRPC service `shop.Orders` on tonic (`orders-server`) and a client of it (`orders-client PORT`); a web server on
//! hyper that speaks HTTP/1.1 and HTTP/2 in the clear (`web-server`), and a client of HTTP/2 (`web-client`).
#![expect(clippy::unwrap_used, reason = "a program that cannot do what it is for ends")]

mod orders;
mod web;

use std::env;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments[0].as_str() {
        "orders-server" => orders::serve().await,
        "orders-client" => orders::call(&arguments[1]).await,
        "web-server" => web::serve().await,
        "web-client" => web::ask().await,
        other => panic!("no program {other}"),
    }
}

/// Waits for a line on standard input; `None` at its end.
async fn line() -> Option<String> {
    let read = || {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        line
    };
    let line = tokio::task::spawn_blocking(read).await.unwrap();
    (!line.is_empty()).then_some(line)
}
