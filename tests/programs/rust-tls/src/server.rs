//! The servers.

use std::{convert::Infallible, sync::Arc};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tonic::transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming};

use crate::{BIG, NAP, Result, grpc::Stock};

/// Starts both servers and prints their ports.
pub async fn start(certificate: &[u8], key: &[u8]) -> Result<()> {
    let https = TcpListener::bind("127.0.0.1:0").await?;
    let grpc = TcpListener::bind("127.0.0.1:0").await?;
    println!("grpc {}", grpc.local_addr()?.port());
    println!("listening {}", https.local_addr()?.port());
    tokio::spawn(serve_https(https, acceptor(certificate, key)?));
    let identity = Identity::from_pem(certificate, key);
    let server = Server::builder().tls_config(ServerTlsConfig::new().identity(identity))?.add_service(Stock);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(grpc).with_nodelay(Some(true))));
    Ok(())
}

fn acceptor(certificate: &[u8], key: &[u8]) -> Result<TlsAcceptor> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<std::result::Result<_, _>>()?;
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, PrivateKeyDer::from_pem_slice(key)?)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn serve_https(listener: TcpListener, acceptor: TlsAcceptor) -> Result<()> {
    loop {
        let (socket, _) = listener.accept().await?;
        socket.set_nodelay(true)?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let builder = auto::Builder::new(TokioExecutor::new());
            // A client that goes away ends it.
            let _ended = builder.serve_connection(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    // What was sent belongs to the request.
    let _body = request.into_body().collect().await;
    if path.starts_with("/slow") {
        tokio::time::sleep(NAP).await;
    }
    let status = if path.starts_with("/no") { 404 } else { 200 };
    let body = if path.starts_with("/big") { Bytes::from(vec![b'r'; BIG]) } else { Bytes::from_static(b"hello") };
    Ok(Response::builder().status(status).body(Full::new(body)).expect("a plain response"))
}
