//! Name and image of a container, from the state its runtime keeps on disk.

use compact_str::CompactString;

/// What a runtime says of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerInfo {
    /// Its name: for Kubernetes that in the pod's specification.
    pub name: Option<CompactString>,
    /// Its image, as it was asked for.
    pub image: Option<CompactString>,
}
