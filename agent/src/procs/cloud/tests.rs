//! Against stand-ins on loopback.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use super::*;

/// Answers each request line that it knows; keeps what it was asked.
async fn service(answers: &'static [(&'static str, &'static str, &'static str)]) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let log = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = String::new();
            let mut read = BufReader::new(&mut stream);
            while !head.ends_with("\r\n\r\n") && read.read_line(&mut head).await.unwrap() > 0 {}
            let line = head.lines().next().unwrap().to_owned();
            let known = answers.iter().find(|(request, header, _)| {
                line == format!("{request} HTTP/1.1")
                    && head.to_ascii_lowercase().contains(&header.to_ascii_lowercase())
            });
            log.lock().unwrap().push(line);
            let answer = match known {
                Some((_, _, body)) => format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len()),
                None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (address, asked)
}

fn dmi(fields: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in fields {
        std::fs::write(dir.path().join(name), format!("{value}\n")).unwrap();
    }
    dir
}

fn source(dmi: &tempfile::TempDir, address: &str) -> CloudSource {
    // A port where nobody listens, so that a wrong cloud's question finds nothing.
    let nobody = || "127.0.0.1:1".to_owned();
    let mut source = CloudSource {
        dmi: dmi.path().into(),
        aws: nobody(),
        gcp: nobody(),
        azure: nobody(),
        limit: Duration::from_secs(10),
    };
    match Cloud::by_dmi(dmi.path()) {
        Some(Cloud::Aws) => source.aws = address.to_owned(),
        Some(Cloud::Gcp) => source.gcp = address.to_owned(),
        Some(Cloud::Azure) => source.azure = address.to_owned(),
        None => {}
    }
    source
}

#[tokio::test]
async fn amazon_is_asked_with_a_token() {
    const DOCUMENT: &str = r#"{"accountId":"123","region":"eu-west-1","availabilityZone":"eu-west-1a",
        "instanceId":"i-0abc","instanceType":"m5.large","imageId":"ami-1","kernelId":null}"#;
    let (address, _) = service(&[
        ("PUT /latest/api/token", "x-aws-ec2-metadata-token-ttl-seconds: 60", "the-token"),
        ("GET /latest/dynamic/instance-identity/document", "x-aws-ec2-metadata-token: the-token", DOCUMENT),
    ])
    .await;
    let attributes = detect(&source(&dmi(&[("sys_vendor", "Amazon EC2")]), &address)).await;
    let expected = [
        ("cloud.provider", "aws"),
        ("cloud.platform", "aws_ec2"),
        ("cloud.account.id", "123"),
        ("cloud.region", "eu-west-1"),
        ("cloud.availability_zone", "eu-west-1a"),
        ("host.id", "i-0abc"),
        ("host.type", "m5.large"),
        ("host.image.id", "ami-1"),
    ];
    assert_eq!(attributes, expected.map(|(key, value)| (key, CompactString::from(value))));
}

#[tokio::test]
async fn google_is_asked_piece_by_piece() {
    let (address, asked) = service(&[
        ("GET /computeMetadata/v1/instance/id", "metadata-flavor: Google", "4711"),
        ("GET /computeMetadata/v1/instance/attributes/cluster-name", "metadata-flavor: Google", "prod"),
        ("GET /computeMetadata/v1/instance/zone", "metadata-flavor: Google", "projects/1/zones/us-central1-a"),
        ("GET /computeMetadata/v1/project/project-id", "metadata-flavor: Google", "shop"),
        (
            "GET /computeMetadata/v1/instance/machine-type",
            "metadata-flavor: Google",
            "projects/1/machineTypes/e2-medium",
        ),
    ])
    .await;
    let attributes = detect(&source(&dmi(&[("product_name", "Google Compute Engine")]), &address)).await;
    let expected = [
        ("cloud.provider", "gcp"),
        ("host.id", "4711"),
        ("cloud.platform", "gcp_kubernetes_engine"),
        ("k8s.cluster.name", "prod"),
        ("cloud.region", "us-central1"),
        ("cloud.availability_zone", "us-central1-a"),
        ("cloud.account.id", "shop"),
        ("host.type", "e2-medium"),
    ];
    assert_eq!(attributes, expected.map(|(key, value)| (key, CompactString::from(value))));
    assert!(asked.lock().unwrap().iter().all(|line| !line.contains("recursive")));
}

#[tokio::test]
async fn azure_is_recognised_by_its_tag_alone() {
    const COMPUTE: &str =
        r#"{"vmId":"v","location":"westeurope","zone":"","vmSize":"D2","subscriptionId":"s","resourceId":"/r"}"#;
    let (address, _) =
        service(&[("GET /metadata/instance/compute?api-version=2021-12-13&format=json", "metadata: true", COMPUTE)])
            .await;
    let hyper_v = dmi(&[("sys_vendor", "Microsoft Corporation"), ("chassis_asset_tag", "other")]);
    assert_eq!(Cloud::by_dmi(hyper_v.path()), None);
    let azure = dmi(&[("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77")]);
    let attributes = detect(&source(&azure, &address)).await;
    let expected = [
        ("cloud.provider", "azure"),
        ("cloud.platform", "azure.vm"),
        ("cloud.account.id", "s"),
        ("cloud.region", "westeurope"),
        ("cloud.resource_id", "/r"),
        ("host.id", "v"),
        ("host.type", "D2"),
    ];
    assert_eq!(attributes, expected.map(|(key, value)| (key, CompactString::from(value))));
}

#[tokio::test]
async fn nobody_is_asked_on_any_other_machine() {
    let (address, asked) = service(&[]).await;
    let other = dmi(&[("sys_vendor", "QEMU"), ("product_name", "Standard PC")]);
    let nowhere = CloudSource { aws: address.clone(), gcp: address.clone(), azure: address, ..source(&other, "") };
    assert_eq!(detect(&nowhere).await, []);
    assert_eq!(detect(&CloudSource { dmi: "/nonexistent".into(), ..nowhere }).await, []);
    assert!(asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_service_that_is_silent_or_broken_delays_no_longer_than_the_limit() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let azure = dmi(&[("chassis_asset_tag", "7783-7084-3265-9085-8269-3286-77")]);
    let limited = CloudSource { limit: Duration::from_millis(50), ..source(&azure, &address) };
    assert_eq!(detect(&limited).await, []);
    drop(silent);
    assert_eq!(detect(&source(&azure, &address)).await, [], "refused");
    let (broken, _) =
        service(&[("GET /metadata/instance/compute?api-version=2021-12-13&format=json", "metadata: true", "<html>")])
            .await;
    assert_eq!(detect(&source(&azure, &broken)).await, [], "no JSON");
}
