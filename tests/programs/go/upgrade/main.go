// Command upgrade is an HTTP server in the clear that speaks HTTP/1.1, HTTP/2 to who knows that beforehand, and HTTP/2 to
// who upgrades to it.
package main

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"
)

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("/status/{status}", func(response http.ResponseWriter, request *http.Request) {
		status, err := strconv.Atoi(request.PathValue("status"))
		if err != nil {
			panic(err)
		}
		response.WriteHeader(status)
	})
	mux.HandleFunc("/sleep", func(response http.ResponseWriter, _ *http.Request) {
		time.Sleep(60 * time.Millisecond)
		fmt.Fprint(response, "slept")
	})
	mux.HandleFunc("/", func(response http.ResponseWriter, _ *http.Request) { fmt.Fprint(response, "hello") })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, h2c.NewHandler(mux, &http2.Server{})))
}
