module beyla-rs/go-tls

go 1.18
