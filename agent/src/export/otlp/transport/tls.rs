//! TLS from PEM files or the system's authorities; the same for gRPC and HTTP.

use std::{path::Path, sync::Arc};

use hyper_rustls::{ConfigBuilderExt, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::{
        WantsClientCert,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
};

use super::TransportError;
use crate::{
    export::config::{OtlpConfig, Protocol, TlsConfig},
    trust,
};

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
    let provider_of_signatures = Arc::clone(&provider);
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TransportError::Tls)?;
    let tls = &config.tls;
    if tls.is_unchecked {
        let unchecked = Arc::new(Unchecked(provider_of_signatures));
        return with_own_certificate(builder.dangerous().with_custom_certificate_verifier(unchecked), tls);
    }
    let builder = match &tls.certificate {
        Some(path) => {
            let trusted = trust::by(certificates("certificate", path)?, provider_of_signatures);
            let trusted = trusted.map_err(|error| unusable("certificate", path, error))?;
            builder.dangerous().with_custom_certificate_verifier(trusted)
        }
        // A receiver that is spoken to in the clear needs no authorities, and reading them all takes milliseconds.
        None if !config.endpoint.is_https() => builder.with_root_certificates(RootCertStore::empty()),
        None => builder.with_native_roots().map_err(|_| TransportError::NoRoots)?,
    };
    with_own_certificate(builder, tls)
}

/// Says who this side is, where there are files for it.
fn with_own_certificate(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    tls: &TlsConfig,
) -> Result<ClientConfig, TransportError> {
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

/// Takes any certificate (`insecure_skip_verify`); what a connection is signed with is checked all the same.
#[derive(Debug)]
struct Unchecked(Arc<CryptoProvider>);

impl ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
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
