//! A server and a client over rustls: HTTP/1 and HTTP/2 (hyper), gRPC (tonic).
//!
//! `rust-tls serve CERT KEY` prints both ports and serves until its input ends. `rust-tls call CERT HTTPS GRPC` waits for
//! a line of input, makes its requests, prints a line for each, and goes on until its input ends. With `continue` in place of
//! `call` it makes its connections, and some requests on each that it says nothing of, before it waits.

mod client;
mod grpc;
mod server;

use std::{env, error::Error, fs};

use tokio::io::{AsyncBufReadExt, BufReader, Stdin, stdin};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// How long `/slow` takes.
const NAP: std::time::Duration = std::time::Duration::from_millis(60);
/// Bytes of `/big`.
const BIG: usize = 300_000;

#[tokio::main(worker_threads = 2)]
async fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut input = BufReader::new(stdin());
    match words[..] {
        ["serve", certificate, key] => {
            server::start(&fs::read(certificate)?, &fs::read(key)?).await?;
        }
        ["call", certificate, https, grpc] => {
            println!("ready");
            line(&mut input).await?;
            client::call(fs::read(certificate)?, https.parse()?, grpc.parse()?, None).await?;
        }
        ["continue", certificate, https, grpc] => {
            let pause = client::Pause::default();
            let certificate = fs::read(certificate)?;
            let calls = tokio::spawn(client::call(certificate, https.parse()?, grpc.parse()?, Some(pause.clone())));
            pause.reached().await;
            println!("ready");
            line(&mut input).await?;
            pause.end().await;
            calls.await??;
        }
        _ => return Err("serve CERT KEY, or call (or continue) CERT HTTPS GRPC".into()),
    }
    while line(&mut input).await? != 0 {}
    Ok(())
}

async fn line(input: &mut BufReader<Stdin>) -> Result<usize> {
    Ok(input.read_line(&mut String::new()).await?)
}
