//! What a cloud's metadata service says of the machine. It is asked only where the firmware's tables (DMI) say that the
//! machine is that cloud's; once, within a short time.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use compact_str::CompactString;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Method, Request, body::Bytes, header::HOST};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::fs::{lossy, read_path};

/// Longest answer that is read.
const ANSWER_MAX: usize = 64 << 10;
/// Longest value that is taken.
const VALUE_MAX: usize = 512;
/// The cluster's name, which belongs to pods only.
pub(crate) const CLUSTER: &str = "k8s.cluster.name";

/// Attributes by their names: `cloud.*`, `host.id`, `host.type`, `host.image.id`.
pub(crate) type CloudAttributes = Vec<(&'static str, CompactString)>;

/// Where clouds are recognised and asked.
#[derive(Clone, Debug)]
pub(crate) struct CloudSource {
    /// The firmware's tables.
    pub dmi: PathBuf,
    /// Amazon's metadata service, `address:port`.
    pub aws: String,
    /// Google's.
    pub gcp: String,
    /// Microsoft's.
    pub azure: String,
    /// How long all questions together may take.
    pub limit: Duration,
}

impl Default for CloudSource {
    fn default() -> Self {
        let address = || "169.254.169.254:80".to_owned();
        Self {
            dmi: PathBuf::from("/sys/class/dmi/id"),
            aws: address(),
            gcp: address(),
            azure: address(),
            limit: Duration::from_secs(1),
        }
    }
}

/// Clouds whose machines are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cloud {
    /// Amazon EC2.
    Aws,
    /// Google Compute Engine.
    Gcp,
    /// Microsoft Azure.
    Azure,
}

impl Cloud {
    /// Whose the machine is, by its firmware's tables.
    #[must_use]
    pub(crate) fn by_dmi(dmi: &Path) -> Option<Self> {
        let field = |name: &str| read_path(&dmi.join(name), 256).map(lossy).unwrap_or_default().trim().to_owned();
        if field("sys_vendor") == "Amazon EC2"
            || field("bios_vendor") == "Amazon EC2"
            || field("bios_version").ends_with(".amazon")
        {
            Some(Self::Aws)
        } else if field("product_name") == "Google Compute Engine" {
            Some(Self::Gcp)
        } else if field("chassis_asset_tag") == "7783-7084-3265-9085-8269-3286-77" {
            // Hyper-V's tables say Microsoft anywhere; this tag is Azure's alone.
            Some(Self::Azure)
        } else {
            None
        }
    }
}

/// Asks the cloud that the machine is of. Empty on any other machine, and where nothing answers in time.
pub(crate) async fn detect(source: &CloudSource) -> CloudAttributes {
    let Some(cloud) = Cloud::by_dmi(&source.dmi) else { return CloudAttributes::new() };
    let answer = match cloud {
        Cloud::Aws => tokio::time::timeout(source.limit, aws(&source.aws)).await,
        Cloud::Gcp => tokio::time::timeout(source.limit, gcp(&source.gcp)).await,
        Cloud::Azure => tokio::time::timeout(source.limit, azure(&source.azure)).await,
    };
    let attributes = answer.ok().flatten();
    if attributes.is_none() {
        tracing::info!(?cloud, "metadata service did not answer: no cloud attributes");
    }
    attributes.unwrap_or_default()
}

async fn aws(address: &str) -> Option<CloudAttributes> {
    let ttl = ("x-aws-ec2-metadata-token-ttl-seconds", "60");
    let token = ask(address, Method::PUT, "/latest/api/token", ttl).await?;
    let token = ("x-aws-ec2-metadata-token", token.trim());
    let document = ask(address, Method::GET, "/latest/dynamic/instance-identity/document", token).await?;
    let document: Value = serde_json::from_str(&document).ok()?;
    let fields = [
        ("cloud.account.id", "accountId"),
        ("cloud.region", "region"),
        ("cloud.availability_zone", "availabilityZone"),
        ("host.id", "instanceId"),
        ("host.type", "instanceType"),
        ("host.image.id", "imageId"),
    ];
    Some(named(&[("cloud.provider", "aws"), ("cloud.platform", "aws_ec2")], &document, &fields))
}

async fn azure(address: &str) -> Option<CloudAttributes> {
    let path = "/metadata/instance/compute?api-version=2021-12-13&format=json";
    let compute: Value = serde_json::from_str(&ask(address, Method::GET, path, ("metadata", "true")).await?).ok()?;
    let fields = [
        ("cloud.account.id", "subscriptionId"),
        ("cloud.region", "location"),
        ("cloud.availability_zone", "zone"),
        ("cloud.resource_id", "resourceId"),
        ("host.id", "vmId"),
        ("host.type", "vmSize"),
    ];
    Some(named(&[("cloud.provider", "azure"), ("cloud.platform", "azure.vm")], &compute, &fields))
}

/// Google's answers are asked for one by one: all at once, they hold keys and scripts.
async fn gcp(address: &str) -> Option<CloudAttributes> {
    let get = |path: &'static str| async move {
        let answer = ask(address, Method::GET, path, ("metadata-flavor", "Google")).await?;
        let last = answer.trim().rsplit('/').next().unwrap_or_default().to_owned();
        (!last.is_empty() && last.len() <= VALUE_MAX).then_some(CompactString::from(last))
    };
    let id = get("/computeMetadata/v1/instance/id").await?;
    let mut attributes: CloudAttributes = vec![("cloud.provider", "gcp".into()), ("host.id", id)];
    let cluster = get("/computeMetadata/v1/instance/attributes/cluster-name").await;
    let platform = if cluster.is_some() { "gcp_kubernetes_engine" } else { "gcp_compute_engine" };
    attributes.push(("cloud.platform", platform.into()));
    attributes.extend(cluster.map(|cluster| (CLUSTER, cluster)));
    if let Some(zone) = get("/computeMetadata/v1/instance/zone").await {
        // `us-central1-a` is a zone of `us-central1`.
        let region = zone.rsplit_once('-').map(|(region, _)| CompactString::from(region));
        attributes.extend(region.map(|region| ("cloud.region", region)));
        attributes.push(("cloud.availability_zone", zone));
    }
    attributes.extend(get("/computeMetadata/v1/project/project-id").await.map(|id| ("cloud.account.id", id)));
    attributes.extend(get("/computeMetadata/v1/instance/machine-type").await.map(|kind| ("host.type", kind)));
    Some(attributes)
}

fn named(fixed: &[(&'static str, &'static str)], from: &Value, fields: &[(&'static str, &str)]) -> CloudAttributes {
    let mut attributes: CloudAttributes =
        fixed.iter().map(|(key, value)| (*key, CompactString::from(*value))).collect();
    let found = fields.iter().filter_map(|(key, field)| Some((*key, from.get(*field)?.as_str()?)));
    attributes.extend(
        found
            .filter(|(_, value)| !value.is_empty() && value.len() <= VALUE_MAX)
            .map(|(key, value)| (key, value.into())),
    );
    attributes
}

/// One request on a connection of its own; `None` unless the answer is 200 and of bounded size.
async fn ask(address: &str, method: Method, path: &str, header: (&str, &str)) -> Option<String> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let request = Request::builder().method(method).uri(path).header(HOST, address).header(header.0, header.1);
    let request = request.body(Empty::<Bytes>::new()).ok()?;
    let exchange = async {
        let response = sender.send_request(request).await.ok()?;
        if response.status() != 200 {
            return None;
        }
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await.ok()?;
        String::from_utf8(body.to_bytes().to_vec()).ok()
    };
    // The connection is driven for as long as the exchange lasts, and no longer.
    tokio::pin!(connection, exchange);
    let mut is_open = true;
    loop {
        tokio::select! {
            answer = &mut exchange => return answer,
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}

#[cfg(test)]
mod tests;
