//! The client. Prints, for each request: kind, path, status, its own port, microseconds.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    version::{TLS12, TLS13},
};
use tokio::{net::TcpStream, sync::Barrier};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_stream::StreamExt;
use tonic::{
    Code,
    client::Grpc,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{BIG, Result, grpc::Plain};

/// Connections of each kind, and requests on each.
const CONNECTIONS: usize = 3;
const REQUESTS: usize = 30;

/// Requests on each before a pause.
const BEFORE: usize = 3;

/// Where all connections wait for each other, and for a word from outside, after their first requests.
#[derive(Clone)]
pub struct Pause(Arc<Barrier>);

impl Default for Pause {
    fn default() -> Self {
        // Two kinds, one of gRPC, and who waits outside.
        Self(Arc::new(Barrier::new(2 * CONNECTIONS + 2)))
    }
}

impl Pause {
    /// All connections have got there.
    pub async fn reached(&self) {
        self.0.wait().await;
    }

    /// They go on.
    pub async fn end(&self) {
        self.0.wait().await;
    }

    async fn pass(&self) {
        self.reached().await;
        self.end().await;
    }
}

/// Makes all requests.
pub async fn call(certificate: Vec<u8>, https: u16, grpc: u16, pause: Option<Pause>) -> Result<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for connection in 0..CONNECTIONS {
        // One of each with the older protocol, whose records look different.
        let version = if connection == 0 { &TLS12 } else { &TLS13 };
        let (authority, waits) = (certificate.clone(), pause.clone());
        tasks.spawn(async move {
            http1(connect(&authority, https, b"http/1.1", version).await?, https, connection, waits).await
        });
        let (authority, waits) = (certificate.clone(), pause.clone());
        tasks.spawn(async move {
            http2(connect(&authority, https, b"h2", version).await?, https, connection, waits).await
        });
    }
    let certificate = Certificate::from_pem(certificate);
    tasks.spawn(async move {
        let tls = ClientTlsConfig::new().ca_certificate(certificate).domain_name("localhost");
        let channel = Endpoint::from_shared(format!("https://127.0.0.1:{grpc}"))?.tls_config(tls)?.connect().await?;
        if let Some(pause) = pause {
            for _ in 0..BEFORE {
                get(&channel, "Get", 10).await?;
            }
            pause.pass().await;
        }
        unary(&channel).await?;
        streams(&channel).await
    });
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    println!("done");
    Ok(())
}

async fn connect(
    certificate: &[u8],
    port: u16,
    protocol: &[u8],
    version: &'static SupportedProtocolVersion,
) -> Result<(TlsStream<TcpStream>, u16)> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate)?)?;
    let mut config =
        ClientConfig::builder_with_protocol_versions(&[version]).with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let socket = TcpStream::connect(("127.0.0.1", port)).await?;
    socket.set_nodelay(true)?;
    let own = socket.local_addr()?.port();
    let name = ServerName::try_from("localhost")?;
    Ok((TlsConnector::from(Arc::new(config)).connect(name, socket).await?, own))
}

fn request(port: u16, version: &str, connection: usize, i: usize) -> Result<Request<Full<Bytes>>> {
    let kind = if i == 4 {
        "slow"
    } else if i % 6 == 1 {
        "big"
    } else if i % 4 == 3 {
        "no"
    } else {
        "ok"
    };
    let (method, body) = if i % 5 == 2 { (Method::POST, vec![b'q'; BIG]) } else { (Method::GET, Vec::new()) };
    // HTTP/2 names the whole address, HTTP/1 the path only.
    let path = format!("/{kind}/{version}/{connection}-{i}");
    let uri = if version == "2" { format!("https://localhost:{port}{path}") } else { path };
    let request = Request::builder().method(method).uri(uri);
    let request = if version == "2" { request } else { request.header("host", format!("localhost:{port}")) };
    Ok(request.body(Full::new(Bytes::from(body)))?)
}

async fn say(path: &str, own: u16, began: Instant, response: Response<Incoming>) -> Result<()> {
    let status = response.status().as_u16();
    let size = response.into_body().collect().await?.to_bytes().len();
    assert_eq!(size, if path.starts_with("/big") { BIG } else { 5 });
    println!("http {path} {status} {own} {}", began.elapsed().as_micros());
    Ok(())
}

fn request_before(port: u16, version: &str) -> Result<Request<Full<Bytes>>> {
    let mut request = request(port, version, 0, 0)?;
    let path = format!("/ok/{version}/before");
    *request.uri_mut() = if version == "2" { format!("https://localhost:{port}{path}") } else { path }.parse()?;
    Ok(request)
}

async fn http1(
    (stream, own): (TlsStream<TcpStream>, u16),
    port: u16,
    connection: usize,
    pause: Option<Pause>,
) -> Result<()> {
    let (mut sender, driver) = conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(driver);
    if let Some(pause) = pause {
        for _ in 0..BEFORE {
            sender.ready().await?;
            sender.send_request(request_before(port, "1")?).await?.into_body().collect().await?;
        }
        pause.pass().await;
    }
    for i in 0..REQUESTS {
        let request = request(port, "1", connection, i)?;
        let path = request.uri().path().to_owned();
        sender.ready().await?;
        let began = Instant::now();
        say(&path, own, began, sender.send_request(request).await?).await?;
    }
    drop(sender);
    driver.await??;
    Ok(())
}

async fn http2(
    (stream, own): (TlsStream<TcpStream>, u16),
    port: u16,
    connection: usize,
    pause: Option<Pause>,
) -> Result<()> {
    let (mut sender, driver) = conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    let driver = tokio::spawn(driver);
    let one_by_one = pause.is_some();
    if let Some(pause) = pause {
        for _ in 0..BEFORE {
            sender.ready().await?;
            sender.send_request(request_before(port, "2")?).await?.into_body().collect().await?;
        }
        pause.pass().await;
    }
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..REQUESTS {
        if one_by_one && let Some(done) = tasks.join_next().await {
            done??;
        }
        let request = request(port, "2", connection, i)?;
        let path = request.uri().path().to_owned();
        let mut sender = sender.clone();
        let began = Instant::now();
        tasks.spawn(async move { say(&path, own, began, sender.send_request(request).await?).await });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    drop(sender);
    driver.await??;
    Ok(())
}

async fn unary(channel: &Channel) -> Result<()> {
    for i in 0..REQUESTS {
        let method = if i == 4 {
            "Slow"
        } else if i % 4 == 3 {
            "Missing"
        } else {
            "Get"
        };
        let began = Instant::now();
        let code = get(channel, method, if i % 6 == 1 { 100_000 } else { 10 }).await?;
        println!("grpc shop.Stock/{method} {} 0 {}", code as i32, began.elapsed().as_micros());
    }
    Ok(())
}

/// One unary call with a message of so many bytes.
async fn get(channel: &Channel, method: &str, bytes: usize) -> Result<Code> {
    let message = Bytes::from(vec![b'm'; bytes]);
    let mut client = Grpc::new(channel.clone());
    client.ready().await?;
    let path = format!("/shop.Stock/{method}").parse()?;
    match client.unary(tonic::Request::new(message.clone()), path, Plain).await {
        Ok(response) => {
            assert_eq!(response.into_inner(), message);
            Ok(Code::Ok)
        }
        Err(status) => Ok(status.code()),
    }
}

async fn streams(channel: &Channel) -> Result<()> {
    for _ in 0..REQUESTS {
        let mut client = Grpc::new(channel.clone());
        client.ready().await?;
        let began = Instant::now();
        let request = tonic::Request::new(Bytes::from_static(b"watched"));
        let path = "/shop.Stock/Watch".parse()?;
        let mut answers = client.server_streaming(request, path, Plain).await?.into_inner();
        let mut count = 0;
        while let Some(answer) = answers.next().await {
            assert_eq!(answer?, "watched");
            count += 1;
        }
        assert_eq!(count, 5);
        println!("grpc shop.Stock/Watch 0 0 {}", began.elapsed().as_micros());
    }
    Ok(())
}
