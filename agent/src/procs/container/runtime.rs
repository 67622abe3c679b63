//! Name and image of a container, from the state its runtime keeps on disk: a few small files, read once per container.
//! What cannot be read is left out; nothing is asked over a socket.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use compact_str::CompactString;
use serde_json::Value;

use super::{ContainerRef, Runtime};
use crate::procs::fs::read_path;

/// Longest state file that is read.
const STATE_MAX: u64 = 1 << 20;
/// Longest name or image that is taken.
const TEXT_MAX: usize = 512;
/// Most containers remembered.
const CONTAINERS_MAX: usize = 4096;

/// What a runtime says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ContainerInfo {
    /// Its name: for Kubernetes that in the pod's specification.
    pub name: Option<CompactString>,
    /// Its image, as it was asked for.
    pub image: Option<CompactString>,
    /// Name of the pod it is part of.
    pub pod_name: Option<CompactString>,
    /// Namespace of the pod it is part of.
    pub pod_namespace: Option<CompactString>,
}

/// Where runtimes keep their state, as this process sees the host's files.
#[derive(Clone, Debug)]
pub(crate) struct RuntimeRoots {
    /// Docker's (`ID/config.v2.json`).
    pub docker: Vec<PathBuf>,
    /// containerd's tasks (`NAMESPACE/ID/config.json`).
    pub containerd: Vec<PathBuf>,
    /// containers/storage, of Podman and CRI-O (`ID/userdata/config.json` and `containers.json`).
    pub storage: Vec<PathBuf>,
}

impl RuntimeRoots {
    /// The usual places below `root`: `/`, or where the host's file system is seen.
    #[must_use]
    pub(crate) fn below(root: &Path) -> Self {
        let paths = |paths: &[&str]| paths.iter().map(|path| root.join(path)).collect();
        Self {
            docker: paths(&["var/lib/docker/containers"]),
            containerd: paths(&[
                "run/containerd/io.containerd.runtime.v2.task",
                "run/k3s/containerd/io.containerd.runtime.v2.task",
            ]),
            storage: paths(&["var/lib/containers/storage/overlay-containers"]),
        }
    }
}

/// Containers looked up, each once.
#[derive(Debug)]
pub(crate) struct Containers {
    roots: RuntimeRoots,
    known: Mutex<HashMap<Arc<str>, Option<Arc<ContainerInfo>>>>,
}

impl Containers {
    /// Looks below `roots`.
    #[must_use]
    pub(crate) fn new(roots: RuntimeRoots) -> Self {
        Self { roots, known: Mutex::default() }
    }

    /// What the runtime says of a container.
    #[must_use]
    pub(crate) fn get(&self, container: &ContainerRef) -> Option<Arc<ContainerInfo>> {
        let id = container.id.as_ref()?;
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return known.clone();
        }
        let info = self.read(id, container.runtime).map(Arc::new);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= CONTAINERS_MAX {
            known.clear();
        }
        known.insert(Arc::clone(id), info.clone());
        info
    }

    fn read(&self, id: &str, runtime: Option<Runtime>) -> Option<ContainerInfo> {
        let docker =
            || self.roots.docker.iter().find_map(|root| of_docker(&json(&root.join(id).join("config.v2.json"))?));
        let containerd = || {
            let folders = self.roots.containerd.iter().filter_map(|root| std::fs::read_dir(root).ok());
            // One folder per containerd namespace: `k8s.io`, `default`, `moby`.
            let namespaces = folders.flat_map(|folder| folder.flatten().take(64));
            namespaces.map(|entry| entry.path().join(id).join("config.json")).find_map(|path| of_oci(&json(&path)?))
        };
        let storage = || {
            self.roots.storage.iter().find_map(|root| {
                let annotated = json(&root.join(id).join("userdata/config.json")).and_then(|config| of_oci(&config));
                annotated
                    .filter(|info| info.name.is_some())
                    .or_else(|| of_storage(&json(&root.join("containers.json"))?, id))
            })
        };
        match runtime {
            Some(Runtime::Docker) => docker(),
            Some(Runtime::Containerd) => containerd(),
            Some(Runtime::CriO | Runtime::Podman) => storage(),
            None => containerd().or_else(docker).or_else(storage),
        }
    }
}

fn json(path: &Path) -> Option<Value> {
    serde_json::from_slice(&read_path(path, STATE_MAX).ok()?).ok()
}

fn text(value: &Value) -> Option<CompactString> {
    let text = value.as_str()?.trim_start_matches('/');
    (!text.is_empty() && text.len() <= TEXT_MAX).then(|| text.into())
}

fn some(info: ContainerInfo) -> Option<ContainerInfo> {
    (info != ContainerInfo::default()).then_some(info)
}

/// Docker's `config.v2.json`. Kubernetes' names stand in labels (cri-dockerd).
fn of_docker(config: &Value) -> Option<ContainerInfo> {
    let labels = &config["Config"]["Labels"];
    some(ContainerInfo {
        name: text(&labels["io.kubernetes.container.name"]).or_else(|| text(&config["Name"])),
        image: text(&config["Config"]["Image"]),
        pod_name: text(&labels["io.kubernetes.pod.name"]),
        pod_namespace: text(&labels["io.kubernetes.pod.namespace"]),
    })
}

/// An OCI bundle's `config.json`: its annotations, as containerd's CRI plugin, nerdctl, CRI-O and Podman write them.
fn of_oci(config: &Value) -> Option<ContainerInfo> {
    let annotations = &config["annotations"];
    let first = |keys: &[&str]| keys.iter().find_map(|key| text(&annotations[*key]));
    some(ContainerInfo {
        name: first(&["io.kubernetes.cri.container-name", "io.kubernetes.container.name", "nerdctl/name"]),
        image: first(&["io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName", "io.container.image.name"]),
        pod_name: first(&["io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"]),
        pod_namespace: first(&["io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"]),
    })
}

/// An entry of containers/storage's `containers.json`, whose metadata is JSON within a string.
fn of_storage(containers: &Value, id: &str) -> Option<ContainerInfo> {
    let entry = containers.as_array()?.iter().find(|entry| entry["id"] == id)?;
    let metadata: Value = serde_json::from_str(entry["metadata"].as_str().unwrap_or_default()).unwrap_or_default();
    some(ContainerInfo {
        name: text(&metadata["name"]).or_else(|| text(&entry["names"][0])),
        image: text(&metadata["image-name"]),
        pod_name: None,
        pod_namespace: None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const ID: &str = "0b1c2d3e4f0b1c2d3e4f0b1c2d3e4f0b1c2d3e4f0b1c2d3e4f0b1c2d3e4f0123";

    fn info(file: &str, contents: &str, runtime: Option<Runtime>) -> Option<Arc<ContainerInfo>> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(file.replace("$ID", ID));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents.replace("$ID", ID)).unwrap();
        let containers = Containers::new(RuntimeRoots::below(dir.path()));
        containers.get(&ContainerRef { id: Some(ID.into()), runtime, pod_uid: None })
    }

    fn expected(name: &str, image: &str, pod: Option<(&str, &str)>) -> Option<Arc<ContainerInfo>> {
        Some(Arc::new(ContainerInfo {
            name: Some(name.into()),
            image: Some(image.into()),
            pod_name: pod.map(|(_, name)| name.into()),
            pod_namespace: pod.map(|(namespace, _)| namespace.into()),
        }))
    }

    #[test]
    fn docker_names_its_containers() {
        let config = r#"{"ID":"$ID","Name":"/shop_db","Config":{"Image":"postgres:16","Labels":{}}}"#;
        let found = info("var/lib/docker/containers/$ID/config.v2.json", config, Some(Runtime::Docker));
        assert_eq!(found, expected("shop_db", "postgres:16", None));
    }

    #[test]
    fn containerd_names_kubernetes_containers_with_or_without_the_runtime_in_the_path() {
        let config = r#"{"annotations":{"io.kubernetes.cri.container-name":"cart","io.kubernetes.cri.image-name":
            "shop/cart:1","io.kubernetes.cri.sandbox-name":"cart-1","io.kubernetes.cri.sandbox-namespace":"shop"}}"#;
        for runtime in [Some(Runtime::Containerd), None] {
            let found = info("run/containerd/io.containerd.runtime.v2.task/k8s.io/$ID/config.json", config, runtime);
            assert_eq!(found, expected("cart", "shop/cart:1", Some(("shop", "cart-1"))));
        }
    }

    #[test]
    fn podman_and_crio_name_theirs() {
        let root = "var/lib/containers/storage/overlay-containers";
        let list =
            r#"[{"id":"x"},{"id":"$ID","names":["web"],"metadata":"{\"image-name\":\"nginx:1\",\"name\":\"web\"}"}]"#;
        let found = info(&format!("{root}/containers.json"), list, Some(Runtime::Podman));
        assert_eq!(found, expected("web", "nginx:1", None));
        let config = r#"{"annotations":{"io.kubernetes.container.name":"cart","io.kubernetes.cri-o.ImageName":"c:1",
            "io.kubernetes.pod.name":"cart-1","io.kubernetes.pod.namespace":"shop"}}"#;
        let found = info(&format!("{root}/$ID/userdata/config.json"), config, Some(Runtime::CriO));
        assert_eq!(found, expected("cart", "c:1", Some(("shop", "cart-1"))));
    }

    #[test]
    fn broken_or_missing_state_says_nothing() {
        let file = "var/lib/docker/containers/$ID/config.v2.json";
        for contents in ["", "{", "[]", "{\"Name\":7}", "null"] {
            assert_eq!(info(file, contents, Some(Runtime::Docker)), None, "{contents}");
        }
        assert_eq!(info("elsewhere", "{}", None), None);
    }
}
