//! Receivers over TLS: who is trusted, who this side says that it is, and what is told of files that are of no use.

use std::time::Duration;

use beyla_rs::internals::export::{Exporters, Fate};
use tests::receiver::{Ports, Receiver};
use tokio::runtime::Runtime;

use super::{Authority, Folder, LONG, PROTOCOLS, Stage, config, config_to, resource, spans};

#[test]
fn tls_with_certificates_of_both_sides_works_in_every_protocol() {
    let authority = Authority::new();
    let folder = Folder::new("tls");
    let (certificate, key) = authority.issue();
    let ca_file = folder.write("ca.pem", &authority.certificate.pem());
    let certificate_file = folder.write("client.pem", &certificate.pem());
    let key_file = folder.write("client.key", &key.serialize_pem());
    let variables = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", ca_file.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate_file.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key_file.as_str()),
    ];
    for protocol in PROTOCOLS {
        let receiver = Receiver::start_on(Ports::default(), Some(authority.tls()));
        let stage = Stage::start(&config(&receiver, protocol, &variables), vec![]);
        stage.exporters.push(spans(1..=3, &resource("a", 1)));
        receiver.wait_for(|state| state.spans.len() == 3, LONG).unwrap();
        stage.shutdown(LONG);

        let stranger = Receiver::start_on(Ports::default(), Some(Authority::new().tls()));
        let stage = Stage::start(&config(&stranger, protocol, &variables), vec![]);
        stage.exporters.push(spans(1..=3, &resource("a", 1)));
        assert_eq!(stage.shutdown(LONG).spans.unwrap().count(Fate::DroppedShutdown), 3);
        assert_eq!(stranger.spans(), vec![]);
    }
}

#[test]
fn a_certificate_is_not_checked_only_where_that_is_asked_for() {
    let authority = Authority::new();
    let folder = Folder::new("unchecked");
    let (certificate, key) = authority.issue();
    let certificate_file = folder.write("client.pem", &certificate.pem());
    let key_file = folder.write("client.key", &key.serialize_pem());
    let own = [
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate_file.as_str()),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", key_file.as_str()),
    ];
    for protocol in ["grpc", "http/protobuf"] {
        let receiver = Receiver::start_on(Ports::default(), Some(authority.tls()));
        let stage = Stage::start(&config(&receiver, protocol, &own), vec![]);
        stage.exporters.push(spans(1..=3, &resource("a", 1)));
        assert_eq!(stage.shutdown(Duration::from_secs(1)).spans.unwrap().count(Fate::DroppedShutdown), 3);
        let unchecked = [&own[..], &[("OTEL_EBPF_INSECURE_SKIP_VERIFY", "true")]].concat();
        let stage = Stage::start(&config(&receiver, protocol, &unchecked), vec![]);
        stage.exporters.push(spans(4..=6, &resource("a", 1)));
        receiver.wait_for(|state| state.spans.len() == 3, LONG).unwrap();
        assert_eq!(stage.shutdown(LONG).spans.unwrap().count(Fate::Sent), 3);
    }
}

#[test]
fn a_certificate_file_that_cannot_be_used_is_named() {
    let folder = Folder::new("no-tls");
    let empty = folder.write("empty.pem", "nothing\n");
    let runtime = Runtime::new().unwrap();
    for (file, reason) in [("/no/such/file.pem", "No such file"), (&empty, "no PEM certificate")] {
        let config = config_to("https://127.0.0.1:4317", "grpc", &[("OTEL_EXPORTER_OTLP_CERTIFICATE", file)]);
        let error = Exporters::start(&config, runtime.handle(), vec![], resource("beyla-rs", 1), None).err().unwrap();
        assert!(error.to_string().contains(file) && error.to_string().contains(reason), "{error}");
    }
}
