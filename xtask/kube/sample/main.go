// sample is what `cargo xtask kube` runs in the cluster, in one static program without dependencies:
//
//	sample serve ADDRESS...               answers every request, until SIGTERM; then those that are under way
//	sample call NAME COUNT PAUSE URL...   asks each URL/NAME/0 to COUNT-1 in turn, with a pause between rounds
//	sample receive ADDRESS                takes spans by OTLP/HTTP with JSON; GET /spans lists them
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

func main() {
	log.SetFlags(log.Ltime | log.Lmicroseconds)
	args := os.Args[1:]
	switch {
	case len(args) >= 2 && args[0] == "serve":
		serve(args[1:], http.HandlerFunc(answer))
	case len(args) >= 5 && args[0] == "call":
		call(args[1], number(args[2]), pause(args[3]), args[4:])
	case len(args) == 2 && args[0] == "receive":
		serve(args[1:], new(receiver))
	default:
		log.Fatal("usage: sample serve ADDRESS... | call NAME COUNT PAUSE URL... | receive ADDRESS")
	}
}

func answer(w http.ResponseWriter, _ *http.Request) {
	host, _ := os.Hostname()
	fmt.Fprintln(w, "hello from", host)
}

// serve listens on every address until SIGTERM. Like a well-behaved server behind a Service it goes on for a moment,
// until the proxies know that it ends, and then finishes what it has begun.
func serve(addresses []string, handler http.Handler) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	var done sync.WaitGroup
	var servers []*http.Server
	for _, address := range addresses {
		server := &http.Server{Addr: address, Handler: handler}
		servers = append(servers, server)
		done.Add(1)
		go func() {
			defer done.Done()
			if err := server.ListenAndServe(); err != http.ErrServerClosed {
				log.Fatal(err)
			}
		}()
	}
	log.Print("serving on ", addresses)
	<-stop
	time.Sleep(2 * time.Second)
	for _, server := range servers {
		if err := server.Shutdown(context.Background()); err != nil {
			log.Print(err)
		}
	}
	done.Wait()
}

// call says at its end how many requests to each URL were answered; an attempt that failed is not repeated.
func call(name string, count int, pause time.Duration, urls []string) {
	// New connections now and then, as a Service balances only those.
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	answered := make([]int, len(urls))
	failed := 0
	for n := 0; n < count; n++ {
		for i, url := range urls {
			if get(client, fmt.Sprintf("%s/%s/%d", url, name, n)) {
				answered[i]++
			} else {
				failed++
			}
		}
		if n%20 == 19 {
			client.CloseIdleConnections()
		}
		time.Sleep(pause)
	}
	fmt.Printf("called name=%s answered=%v failed=%d\n", name, answered, failed)
}

func get(client *http.Client, url string) bool {
	response, err := client.Get(url)
	if err != nil {
		log.Print(err)
		return false
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err == nil
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		log.Fatal(err)
	}
	return n
}

func pause(text string) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil {
		log.Fatal(err)
	}
	return d
}
