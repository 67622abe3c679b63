module beyla-rs/deploy/validate

go 1.24
