// Command go-etcd puts keys into etcd by its gRPC interface over TLS: `go-etcd CERTIFICATE PORT COUNT`, on a line of its standard input, by eight goroutines over one
// connection. Messages are put together by hand.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
)

// plain is a codec of messages that are bytes already.
type plain struct{}

func (plain) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (plain) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (plain) Name() string { return "proto" }

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// put is an etcdserverpb.PutRequest.
func put(key, value string) []byte {
	message := append([]byte{0x0a, byte(len(key))}, key...)
	return append(append(message, 0x12, byte(len(value))), value...)
}

func main() {
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(must(os.ReadFile(os.Args[1])))
	count := must(strconv.Atoi(os.Args[3]))
	secured := credentials.NewTLS(&tls.Config{RootCAs: authorities, ServerName: "localhost"})
	channel := must(grpc.NewClient("127.0.0.1:"+os.Args[2], grpc.WithTransportCredentials(secured), grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{}))))
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	channel.Connect()
	for state := channel.GetState(); state != connectivity.Ready; state = channel.GetState() {
		channel.WaitForStateChange(ctx, state)
		if ctx.Err() != nil {
			panic(ctx.Err())
		}
	}
	var group sync.WaitGroup
	for at := range 8 {
		group.Go(func() {
			for number := at; number < count; number += 8 {
				request, response := put(fmt.Sprint("key", number), "value"), []byte(nil)
				if err := channel.Invoke(ctx, "/etcdserverpb.KV/Put", &request, &response); err != nil {
					panic(err)
				}
			}
		})
	}
	group.Wait()
	fmt.Println("done")
	select {}
}
