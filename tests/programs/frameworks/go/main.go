// Command routes serves patterns of net/http, in the two ways to register them, on a mux of its own and the default one.
package main

import (
	"fmt"
	"net"
	"net/http"
)

func main() {
	answer := func(w http.ResponseWriter, r *http.Request) { fmt.Fprintln(w, r.URL.Path) }
	http.HandleFunc("GET /users/{user}", answer)
	http.Handle("GET /users/me", http.HandlerFunc(answer))
	http.HandleFunc("/users/{user}/files/{path...}", answer)
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/orders/{order}/lines/{line}", answer)
	mux.Handle("GET /api/orders/{order}/lines/{line}", http.HandlerFunc(answer))
	mux.HandleFunc("/api/orders/{$}", answer)
	http.Handle("/api/", mux)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, nil))
}
