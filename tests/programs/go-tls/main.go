// Command go-tls serves and asks over HTTPS with Go's own library: `go-tls serve CERTIFICATE KEY [NEXT]`, which wants a client's certificate too, and
// asks the server at port NEXT for what is called a chain; with `later` in place of `serve` it listens on a line of its standard input only. `go-tls call|get|continue|chain|storm CERTIFICATE KEY PORT`. On a line of its standard input the client makes its requests, three connections of HTTP/1.1 and three of
// HTTP/2 at once, the first of each over TLS 1.2; with `continue` the first requests of each were made before that, and with `get` none has a body. Of each request it
// says path, status, its own port and microseconds. With `storm` it asks for chains until there is a line, and says how many there were and how many failed. It is built with old releases of Go as well.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	connections = 3
	requests    = 30
	before      = 3
	nap         = 60 * time.Millisecond
)

var big = bytes.Repeat([]byte("0123456789"), 30_000)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	pair := must(tls.LoadX509KeyPair(os.Args[2], os.Args[3]))
	switch os.Args[1] {
	case "serve":
		serve(pair)
	case "later":
		_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
		serve(pair)
	case "chain":
		chain(pair, os.Args[4])
	case "storm":
		storm(pair, os.Args[4])
	default:
		call(pair, os.Args[4], os.Args[1] == "continue")
	}
}

// next asks over HTTP/1.1 and HTTP/2.
var next [2]*http.Client

// links asks for what a chain goes on with: once by itself, twice by goroutines of its own.
func links(path string, version int) {
	get := func(number int) {
		response := must(next[version-1].Get(fmt.Sprintf("https://localhost:%s/link%s.%d", os.Args[4], path, number)))
		_ = must(io.Copy(io.Discard, response.Body))
		_ = response.Body.Close()
	}
	get(0)
	var group sync.WaitGroup
	for number := 1; number < 3; number++ {
		group.Add(1)
		go func(number int) {
			defer group.Done()
			get(number)
		}(number)
	}
	group.Wait()
}

func trusting(pair tls.Certificate) *tls.Config {
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(must(os.ReadFile(os.Args[2])))
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: authorities}
}

func asking(config *tls.Config, version int) *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig: config, ForceAttemptHTTP2: version == 2, MaxConnsPerHost: 8, ExpectContinueTimeout: 10 * time.Second,
	}}
}

// chain makes sixteen requests at a time of each version, twenty times, on a line of its standard input. Of those over HTTP/1.1 every fourth has a body that is
// waited for, so that there is an answer in its midst.
func chain(pair tls.Certificate, port string) {
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	var group sync.WaitGroup
	for version := 1; version <= 2; version++ {
		client := asking(trusting(pair), version)
		for at := 0; at < 16; at++ {
			group.Add(1)
			go func(version, at int) {
				defer group.Done()
				for number := 0; number < 20; number++ {
					url := fmt.Sprintf("https://localhost:%s/chain/%d/%d-%d", port, version, at, number)
					request := must(http.NewRequest("GET", url, nil))
					if version == 1 && number%4 == 3 {
						request = must(http.NewRequest("POST", url, bytes.NewReader(big[:100])))
						request.Header.Set("Expect", "100-continue")
					}
					response := must(client.Do(request))
					_ = must(io.Copy(io.Discard, response.Body))
					_ = response.Body.Close()
				}
			}(version, at)
		}
	}
	group.Wait()
	fmt.Println("done")
	select {}
}

// storm asks for chains, eight at a time of each version.
func storm(pair tls.Certificate, port string) {
	var group sync.WaitGroup
	var isOver, total, failed int64
	for version := 1; version <= 2; version++ {
		client := asking(trusting(pair), version)
		for at := 0; at < 8; at++ {
			group.Add(1)
			go func(version, at int) {
				defer group.Done()
				for number := 0; atomic.LoadInt64(&isOver) == 0; number++ {
					atomic.AddInt64(&total, 1)
					deep(200)
					response, err := client.Get(fmt.Sprintf("https://localhost:%s/chain/%d/%d-%d", port, version, at, number))
					if err == nil {
						_, err = io.Copy(io.Discard, response.Body)
						_ = response.Body.Close()
					}
					if err != nil || response.StatusCode != http.StatusOK {
						atomic.AddInt64(&failed, 1)
						fmt.Println("failed", err)
					}
				}
			}(version, at)
		}
	}
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	atomic.StoreInt64(&isOver, 1)
	group.Wait()
	fmt.Println("done", total, failed)
	select {}
}

// deep makes the goroutine's stack move.
func deep(left int) int {
	var room [256]byte
	if left == 0 {
		return int(room[0])
	}
	return deep(left-1) + int(room[left%256])
}

func answer(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	deep(200)
	switch strings.Split(r.URL.Path, "/")[1] {
	case "slow":
		time.Sleep(nap)
	case "big":
		_, _ = w.Write(big)
		return
	case "chain":
		links(r.URL.Path, r.ProtoMajor)
	case "missing":
		w.WriteHeader(http.StatusNotFound)
	}
	_, _ = w.Write([]byte("hello"))
}

func serve(pair tls.Certificate) {
	config := &tls.Config{
		Certificates: []tls.Certificate{pair},
		ClientAuth:   tls.RequireAnyClientCert,
		NextProtos:   []string{"h2", "http/1.1"},
	}
	next = [2]*http.Client{asking(trusting(pair), 1), asking(trusting(pair), 2)}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	server := &http.Server{Handler: http.HandlerFunc(answer), TLSConfig: config}
	panic(server.ServeTLS(listener, "", ""))
}

func call(pair tls.Certificate, port string, continues bool) {
	var ready, done sync.WaitGroup
	var saying sync.Mutex
	begin := make(chan struct{})
	one := func(version, connection int) {
		defer done.Done()
		config := trusting(pair)
		if connection == 0 {
			config.MaxVersion = tls.VersionTLS12
		}
		client := asking(config, version)
		if !continues {
			ready.Done()
			<-begin
		}
		for number := 0; number < requests; number++ {
			if continues && number == before {
				ready.Done()
				<-begin
			}
			ask(client, port, version, connection, number, &saying)
		}
	}
	for connection := 0; connection < connections; connection++ {
		for version := 1; version <= 2; version++ {
			ready.Add(1)
			done.Add(1)
			go one(version, connection)
		}
	}
	ready.Wait()
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	close(begin)
	done.Wait()
	fmt.Println("done")
	select {}
}

func ask(client *http.Client, port string, version, connection, number int, saying *sync.Mutex) {
	what := []string{"small", "slow", "big", "missing", "small"}[number%5]
	path := fmt.Sprintf("/%s/%d/%d-%d", what, version, connection, number)
	method, body := "GET", []byte(nil)
	if number%5 == 2 && os.Args[1] != "get" {
		method, body = "POST", big
	}
	own := 0
	trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) {
		own = got.Conn.LocalAddr().(*net.TCPAddr).Port
	}}
	request := must(http.NewRequestWithContext(
		httptrace.WithClientTrace(context.Background(), trace), method, "https://localhost:"+port+path, bytes.NewReader(body)))
	began := time.Now()
	response := must(client.Do(request))
	_ = must(io.Copy(io.Discard, response.Body))
	_ = response.Body.Close()
	took := time.Since(began)
	if response.ProtoMajor != version {
		panic(response.Proto)
	}
	saying.Lock()
	defer saying.Unlock()
	fmt.Println("http", path, response.StatusCode, own, took.Microseconds())
}
