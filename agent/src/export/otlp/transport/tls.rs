//! TLS from PEM files or the system's authorities; the same for gRPC and HTTP.

use std::{path::Path, sync::Arc};

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

use super::TransportError;
use crate::export::config::{OtlpConfig, Protocol};

/// Connects by TCP and, for `https`, TLS.
pub(super) fn connector(config: &OtlpConfig) -> Result<HttpsConnector<HttpConnector>, TransportError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(config.timeout));
    let builder = HttpsConnectorBuilder::new().with_tls_config(client_config(config)?).https_or_http();
    Ok(match config.protocol {
        Protocol::Grpc => builder.enable_http2().wrap_connector(tcp),
        _ => builder.enable_http1().enable_http2().wrap_connector(tcp),
    })
}

fn client_config(config: &OtlpConfig) -> Result<ClientConfig, TransportError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TransportError::Tls)?;
    let tls = &config.tls;
    let builder = match &tls.certificate {
        Some(path) => builder.with_root_certificates(roots(path)?),
        // A receiver that is spoken to in the clear needs no authorities, and reading them all takes milliseconds.
        None if !config.endpoint.is_https() => builder.with_root_certificates(RootCertStore::empty()),
        None => builder.with_native_roots().map_err(|_| TransportError::NoRoots)?,
    };
    match (&tls.client_certificate, &tls.client_key) {
        (Some(certificate), Some(key)) => {
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("client key", key, error))?;
            builder
                .with_client_auth_cert(certificates("client certificate", certificate)?, key)
                .map_err(TransportError::Tls)
        }
        _ => Ok(builder.with_no_client_auth()),
    }
}

/// What this side serves with.
pub(crate) fn server_config(certificate: &Path, key: &Path) -> Result<ServerConfig, TransportError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = certificates("listen_tls.certificate", certificate)?;
    let own_key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("listen_tls.key", key, error))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TransportError::Tls)?
        .with_no_client_auth()
        .with_single_cert(chain, own_key)
        .map_err(|error| unusable("listen_tls.certificate", certificate, error))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn roots(path: &Path) -> Result<RootCertStore, TransportError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("certificate", path)? {
        roots.add(certificate).map_err(|error| unusable("certificate", path, error))?;
    }
    Ok(roots)
}

fn certificates(what: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let found: Vec<_> =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect).map_err(|error| unusable(what, path, error))?;
    if found.is_empty() {
        return Err(unusable(what, path, "it holds no PEM certificate"));
    }
    Ok(found)
}

fn unusable(what: &'static str, path: &Path, reason: impl ToString) -> TransportError {
    TransportError::TlsFile { what, path: path.display().to_string(), reason: reason.to_string() }
}
