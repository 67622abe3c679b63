module beyla-rs/go-offsets

go 1.23
