//! The certificate that the agent serves with, read anew when its files change: those that expire are replaced while it runs.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{runtime::Handle, sync::watch, task::spawn_blocking, time::MissedTickBehavior};

use super::otlp::{self, TransportError};

/// How often it is looked whether they have changed.
pub(super) const EVERY: Duration = Duration::from_secs(5);

fn versions(files: &[PathBuf; 2]) -> [Option<otlp::Version>; 2] {
    [&files[0], &files[1]].map(|file| otlp::version(file))
}

/// What is served with from now on.
///
/// # Errors
/// The files cannot be used; later that is told, and what was read before is served with.
pub(super) fn start(
    certificate: &Path,
    key: &Path,
    every: Duration,
    runtime: &Handle,
) -> Result<watch::Receiver<Arc<ServerConfig>>, TransportError> {
    let files = [certificate.to_owned(), key.to_owned()];
    // Before they are read: what changes in between is read once more.
    let mut known = versions(&files);
    let (tell, told) = watch::channel(Arc::new(otlp::server_config(certificate, key)?));
    let files = Arc::new(files);
    runtime.spawn(async move {
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_refused = false;
        loop {
            ticks.tick().await;
            if tell.is_closed() {
                return;
            }
            let own = Arc::clone(&files);
            // A file system need not answer at once.
            let looked = spawn_blocking(move || {
                let now = versions(&own);
                (now != known).then(|| (now, otlp::server_config(&own[0], &own[1])))
            });
            match looked.await {
                Ok(Some((now, Ok(config)))) => {
                    (known, is_refused) = (now, false);
                    tell.send_replace(Arc::new(config));
                    tracing::info!(certificate = %files[0].display(), "the certificate of listen_tls was read anew");
                }
                Ok(Some((now, Err(error)))) => {
                    known = now;
                    // While one of the two files is new and the other is not yet they do not fit.
                    if !std::mem::replace(&mut is_refused, true) {
                        tracing::warn!(%error, "the changed certificate of listen_tls is not used, but the one before");
                    }
                }
                Ok(None) | Err(_) => {}
            }
        }
    });
    Ok(told)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::{Router, routing::get};
    use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer};
    use tokio::{net::TcpStream, runtime::Runtime};

    use super::*;
    use crate::server::Server;

    /// Writes a certificate of its own, and gives what trusts it alone.
    fn renew(certificate: &Path, key: &Path) -> Arc<ClientConfig> {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(key, own.signing_key.serialize_pem()).unwrap();
        std::fs::write(certificate, own.cert.pem()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from(own.cert.der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        Arc::new(client.with_root_certificates(roots).with_no_client_auth())
    }

    async fn is_trusted(addr: SocketAddr, client: &Arc<ClientConfig>) -> bool {
        let stream = TcpStream::connect(addr).await.unwrap();
        let name = "localhost".try_into().unwrap();
        tokio_rustls::TlsConnector::from(Arc::clone(client)).connect(name, stream).await.is_ok()
    }

    #[test]
    fn a_certificate_that_was_replaced_is_served_with_and_one_that_is_none_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        let first = renew(&certificate, &key);
        let runtime = Runtime::new().unwrap();
        let tls = start(&certificate, &key, Duration::from_millis(10), runtime.handle()).unwrap();
        let routes = Router::new().route("/", get("here"));
        let mut seen = tls.clone();
        let server = Server::start("127.0.0.1:0".parse().unwrap(), runtime.handle(), routes, Some(tls)).unwrap();
        runtime.block_on(async {
            assert!(is_trusted(server.addr().unwrap(), &first).await);
            let second = renew(&certificate, &key);
            assert!(!is_trusted(server.addr().unwrap(), &second).await || seen.has_changed().unwrap());
            seen.changed().await.unwrap();
            assert!(is_trusted(server.addr().unwrap(), &second).await);
            assert!(!is_trusted(server.addr().unwrap(), &first).await);
            std::fs::write(&certificate, "no certificate").unwrap();
            let mut ticks = tokio::time::interval(Duration::from_millis(10));
            for _ in 0..5 {
                ticks.tick().await;
            }
            assert!(is_trusted(server.addr().unwrap(), &second).await);
            // The key first and the certificate later, as some do.
            let third = renew(&certificate, &key);
            seen.changed().await.unwrap();
            assert!(is_trusted(server.addr().unwrap(), &third).await);
        });
    }
}
