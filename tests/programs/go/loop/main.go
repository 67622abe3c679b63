// Command loop calls the gRPC service `shop.Orders` on and on, over a few connections: `loop PORT`.
//
// The status tells the method: `Get` ends with OK, `Missing` with NOT_FOUND, any other with UNIMPLEMENTED. Most calls have a
// name that the connection's table of headers holds since its beginning; some have a new one each, which in time drives
// older entries out.
package main

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

const connections = 4

// plain is a codec of messages that are bytes already.
type plain struct{}

func (plain) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (plain) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (plain) Name() string { return "proto" }

func calls(port string, first chan<- bool) {
	codec := grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{}))
	channel, err := grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(insecure.NewCredentials()), codec)
	if err != nil {
		panic(err)
	}
	for count := 0; ; count++ {
		method := [...]string{"Get", "Get", "Missing", ""}[rand.IntN(4)]
		if method == "" {
			method = fmt.Sprintf("New%d", rand.IntN(1_000_000))
		}
		request, response := make([]byte, rand.IntN(300)), []byte(nil)
		// How it ends is what the test knows.
		_ = channel.Invoke(context.Background(), "/shop.Orders/"+method, &request, &response)
		if count == 20 {
			first <- true
		}
	}
}

func main() {
	first := make(chan bool)
	for range connections {
		go calls(os.Args[1], first)
	}
	for range connections {
		<-first
	}
	fmt.Println("calling")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
}
