//! Which container and pod a process is in, read off its cgroup's path.
//!
//! All drivers put the container's id into the path; they differ in what stands around it. The innermost id wins, so a
//! container in a container (kind, Docker in Docker) is the inner one.

pub(crate) mod runtime;

use std::sync::Arc;

/// What a cgroup path says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct ContainerRef {
    /// The container's id, as the runtime has it.
    pub id: Option<Arc<str>>,
    /// The runtime, where the path names it.
    pub runtime: Option<Runtime>,
    /// The pod's uid with dashes (for a static pod, the 32 digits of its configuration's hash).
    pub pod_uid: Option<Arc<str>>,
}

/// Container runtimes that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Runtime {
    /// Docker.
    Docker,
    /// containerd, by CRI or nerdctl.
    Containerd,
    /// CRI-O.
    CriO,
    /// Podman.
    Podman,
}

impl Runtime {
    /// The value of `container.runtime.name`.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
        }
    }
}

impl ContainerRef {
    /// Reads `/proc/PID/cgroup`.
    #[must_use]
    pub(crate) fn from_cgroup(text: &str) -> Self {
        let mut best = Self::default();
        for line in text.lines().take(64) {
            // hierarchy-ID:controller-list:path; the path itself may hold colons.
            let mut fields = line.splitn(3, ':');
            let (hierarchy, path) = (fields.next(), fields.nth(1));
            let Some(path) = path else { continue };
            let found = Self::from_path(path);
            // On hybrid hosts some hierarchies lack the container; where several have one, the unified one decides.
            let better = found.id.is_some() && (best.id.is_none() || hierarchy == Some("0"))
                || best.id.is_none() && best.pod_uid.is_none() && found.pod_uid.is_some();
            if better {
                best = found;
            }
        }
        best
    }

    /// Reads a cgroup's path.
    #[must_use]
    pub(crate) fn from_path(path: &str) -> Self {
        let mut found = Self::default();
        let mut parent = "";
        // `slice:cri-containerd:id` is what the systemd form looks like on a host without systemd.
        for segment in path.split(['/', ':']) {
            if let Some((id, runtime)) = container_id(segment, parent) {
                found.id = Some(id.into());
                found.runtime = runtime;
            } else if let Some(uid) = pod_uid(segment) {
                found.pod_uid = Some(uid.into());
                found.id = None;
                found.runtime = None;
            }
            parent = segment;
        }
        found
    }

    /// Whether the process is in no container at all.
    #[must_use]
    pub(crate) fn is_none(&self) -> bool {
        self.id.is_none() && self.pod_uid.is_none()
    }
}

fn container_id<'a>(segment: &'a str, parent: &str) -> Option<(&'a str, Option<Runtime>)> {
    let name = segment.strip_suffix(".scope").or_else(|| segment.strip_suffix(".service")).unwrap_or(segment);
    if is_id(name) {
        return Some((name, runtime_of_parent(parent)));
    }
    let (prefix, id) = name.rsplit_once('-')?;
    if !is_id(id) {
        // Fargate: task id and a number.
        let is_fargate = is_hex(prefix, 32) && id.len() >= 6 && id.bytes().all(|byte| byte.is_ascii_digit());
        return is_fargate.then_some((name, None));
    }
    let runtime = match prefix {
        "docker" => Runtime::Docker,
        "cri-containerd" | "nerdctl" | "containerd" => Runtime::Containerd,
        "crio" => Runtime::CriO,
        "libpod" | "libpod-payload" => Runtime::Podman,
        // `crio-conmon-ID`: the container's monitor is not in the container.
        _ if prefix.ends_with("conmon") => return None,
        _ => return Some((id, runtime_of_parent(parent))),
    };
    Some((id, Some(runtime)))
}

fn runtime_of_parent(parent: &str) -> Option<Runtime> {
    match parent {
        "docker" | "actions_job" => Some(Runtime::Docker),
        "libpod_parent" => Some(Runtime::Podman),
        "cri-containerd" => Some(Runtime::Containerd),
        _ => None,
    }
}

/// `pod<uid>`, `kubepods-burstable-pod<uid>.slice`, `kubelet-kubepods-pod<uid>.slice`; systemd has underscores for
/// dashes.
fn pod_uid(segment: &str) -> Option<String> {
    let name = segment.strip_suffix(".slice").unwrap_or(segment);
    let uid = match name.rsplit_once("-pod") {
        Some((_, uid)) => uid,
        None => name.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let groups = [8, 4, 4, 4, 12];
    let is_uuid = uid.split('-').count() == groups.len()
        && uid.split('-').zip(groups).all(|(group, digits)| is_hex(group, digits));
    (is_uuid || is_hex(&uid, 32)).then_some(uid)
}

fn is_id(text: &str) -> bool {
    is_hex(text, 64)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests;
