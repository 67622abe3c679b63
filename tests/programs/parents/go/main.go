// Command parents is a service of net/http whose calls go through a transport with a bounded pool; with the argument `grpc` one of grpc-go. How it is
// told what to call: see tests/src/parents/mod.rs.
package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

func setting(name, otherwise string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return otherwise
}

func number(text string) int {
	value, err := strconv.Atoi(text)
	if err != nil {
		panic(err)
	}
	return value
}

var (
	backends  = strings.Split(setting("BACKENDS", ""), ",")
	pool      = number(setting("POOL", "8"))
	transport = &http.Transport{MaxConnsPerHost: pool, MaxIdleConnsPerHost: pool}
	client    = &http.Client{Transport: transport}
)

var wasAsked atomic.Bool

// background is work of the service's own, of no request, from the first on.
func background(milliseconds int) {
	for at := 0; milliseconds > 0; at++ {
		time.Sleep(time.Duration(milliseconds) * time.Millisecond)
		if !wasAsked.Load() {
			continue
		}
		call(fmt.Sprintf("/background%dn%d", os.Getpid(), at), 0, "")
	}
}

func call(path string, at int, context string) {
	url := fmt.Sprintf("http://127.0.0.1:%s%s.%d", backends[at%len(backends)], path, at+1)
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		panic(err)
	}
	if context != "" {
		request.Header.Set("traceparent", context)
	}
	response, err := client.Do(request)
	if err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}

func answer(writer http.ResponseWriter, request *http.Request) {
	wasAsked.Store(true)
	query := request.URL.Query()
	pattern, count := query.Get("p"), query.Get("n")
	if pattern == "" {
		pattern = setting("PATTERN", "sequential")
	}
	if count == "" {
		count = setting("CALLS", "0")
	}
	context := request.Header.Get("traceparent")
	var calls sync.WaitGroup
	for at := range number(count) {
		switch pattern {
		case "parallel":
			calls.Go(func() { call(request.URL.Path, at, context) })
		case "forget":
			go call(request.URL.Path, at, context)
		case "pause":
			time.Sleep(time.Millisecond + time.Duration(rand.IntN(4000))*time.Microsecond)
			call(request.URL.Path, at, context)
		default:
			call(request.URL.Path, at, context)
		}
	}
	calls.Wait()
	_, _ = io.WriteString(writer, "ok")
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:"+setting("LISTEN", "0"))
	if err != nil {
		panic(err)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	if len(os.Args) > 1 && os.Args[1] == "grpc" {
		panic(serveGrpc(listener))
	}
	go background(number(setting("BACKGROUND", "0")))
	server := &http.Server{Handler: http.HandlerFunc(answer), Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	panic(server.Serve(listener))
}
