module beyla-rs/xtask/kube/sample

go 1.22
