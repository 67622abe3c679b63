module beyla-rs/parents

go 1.26.0
