module beyla-rs/go-metrics

go 1.21
