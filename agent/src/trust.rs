//! Whom a TLS client trusts that is given a file of certificates: authorities, and servers that show one of these very certificates.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

/// Checks certificates as usual. One that is an authority's and a server's at once, as `openssl req -x509` makes them, is taken besides from a
/// server that shows that very certificate, for the names in it.
#[derive(Debug)]
pub(crate) struct Trusted {
    chains: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

/// What trusts these certificates.
///
/// # Errors
/// One of them is none, or there is none.
pub(crate) fn by(
    certificates: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<Trusted>, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in &certificates {
        roots.add(certificate.clone())?;
    }
    let chains = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let chains = chains.map_err(|error| Error::General(error.to_string()))?;
    Ok(Arc::new(Trusted { chains, own: certificates }))
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match self.chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // That it is an authority's is said only of one that holds today.
            Err(Error::InvalidCertificate(CertificateError::Other(_)))
                if self.own.iter().any(|own| own == end_entity) =>
            {
                verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chains.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn made(is_authority: bool, until_year: i32) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = if is_authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        params.not_after = rcgen::date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().unwrap();
        CertificateDer::from(params.self_signed(&key).unwrap().der().to_vec())
    }

    fn verified(
        trusted: &[CertificateDer<'static>],
        shown: &CertificateDer<'static>,
        name: &'static str,
    ) -> Result<(), Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let it = by(trusted.to_vec(), provider).unwrap();
        let name = ServerName::try_from(name).unwrap();
        it.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).map(|_| ())
    }

    #[test]
    fn a_server_that_shows_the_very_certificate_is_trusted_for_its_names_alone() {
        let (both, plain, other) = (made(true, 2100), made(false, 2100), made(true, 2100));
        assert_eq!(verified(std::slice::from_ref(&both), &both, "localhost"), Ok(()));
        assert_eq!(verified(std::slice::from_ref(&plain), &plain, "localhost"), Ok(()));
        assert_eq!(verified(&[other.clone(), both.clone()], &both, "localhost"), Ok(()));
        assert!(verified(std::slice::from_ref(&both), &both, "elsewhere").is_err());
        assert!(verified(std::slice::from_ref(&both), &other, "localhost").is_err());
        let over = made(true, 2001);
        assert!(verified(std::slice::from_ref(&over), &over, "localhost").is_err(), "it has expired");
    }
}
