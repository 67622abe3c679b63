module beyla-rs/routes

go 1.22
