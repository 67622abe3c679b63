// Command web answers /api at an address, with TLS if there is a certificate, and says at another one, at /status, how many of these requests there
// were: `web ADDRESS STATUS [CERTIFICATE KEY]`.
package main

import (
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
)

var asked atomic.Uint64

func main() {
	status := http.NewServeMux()
	status.HandleFunc("/status", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, asked.Load()) })
	go func() { panic(http.ListenAndServe(os.Args[2], status)) }()
	api := http.NewServeMux()
	api.HandleFunc("/api", func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"items":[{"id":1,"name":"first"},{"id":2,"name":"second"}],"total":2}`))
	})
	if len(os.Args) > 4 {
		panic(http.ListenAndServeTLS(os.Args[1], os.Args[3], os.Args[4], api))
	}
	panic(http.ListenAndServe(os.Args[1], api))
}
