// Command connect is the service `shop.Stock` by connect-go (`connect server`), which takes calls of gRPC, gRPC-Web and Connect
// over HTTP/1.1 and HTTP/2 in the clear, and a client of it (`connect client PORT`).
//
// For each line `PROTOCOL VERSION` of its standard input, as `grpc-web 1.1`, the client makes its calls, says of each its method,
// code and nanoseconds, and says `done`.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

type message = wrapperspb.StringValue

const sleep = 60 * time.Millisecond

func main() {
	if os.Args[1] == "server" {
		serve()
	} else {
		call(os.Args[2])
	}
}

func answer(method string) (*message, error) {
	switch method {
	case "Slow":
		time.Sleep(sleep)
	case "Missing":
		return nil, connect.NewError(connect.CodeNotFound, errors.New("no such thing"))
	case "Broken":
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("not today"))
	}
	return wrapperspb.String(method), nil
}

func serve() {
	mux := http.NewServeMux()
	for _, method := range []string{"Get", "Read", "Slow", "Missing", "Broken"} {
		path := "/shop.Stock/" + method
		handler := func(context.Context, *connect.Request[message]) (*connect.Response[message], error) {
			said, err := answer(method)
			if err != nil {
				return nil, err
			}
			return connect.NewResponse(said), nil
		}
		mux.Handle(path, connect.NewUnaryHandler(path, handler, connect.WithIdempotency(idempotency(method))))
	}
	for _, method := range []string{"List", "ListBroken"} {
		path := "/shop.Stock/" + method
		handler := func(_ context.Context, _ *connect.Request[message], stream *connect.ServerStream[message]) error {
			for range 3 {
				if err := stream.Send(wrapperspb.String(method)); err != nil {
					return err
				}
			}
			_, err := answer(strings.TrimPrefix(method, "List"))
			return err
		}
		mux.Handle(path, connect.NewServerStreamHandler(path, handler))
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	server := http.Server{Handler: mux, Protocols: new(http.Protocols)}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	panic(server.Serve(listener))
}

// What has no side effects may be asked for by GET.
func idempotency(method string) connect.IdempotencyLevel {
	if method == "Read" {
		return connect.IdempotencyNoSideEffects
	}
	return connect.IdempotencyUnknown
}

func call(port string) {
	protocols := map[string][]connect.ClientOption{
		"connect":  {connect.WithHTTPGet()},
		"grpc":     {connect.WithGRPC()},
		"grpc-web": {connect.WithGRPCWeb()},
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		protocol, version, _ := strings.Cut(lines.Text(), " ")
		transport := &http.Transport{Protocols: new(http.Protocols)}
		transport.Protocols.SetHTTP1(version == "1.1")
		transport.Protocols.SetUnencryptedHTTP2(version == "2")
		for _, method := range []string{"Get", "Get", "Get", "Read", "Slow", "Missing", "Broken", "List", "ListBroken"} {
			url := "http://127.0.0.1:" + port + "/shop.Stock/" + method
			options := append([]connect.ClientOption{connect.WithIdempotency(idempotency(method))}, protocols[protocol]...)
			client := connect.NewClient[message, message](&http.Client{Transport: transport}, url, options...)
			began := time.Now()
			err := ask(client, method)
			code := "ok"
			if err != nil {
				code = connect.CodeOf(err).String()
			}
			fmt.Println("called", method, code, time.Since(began).Nanoseconds())
		}
		fmt.Println("done")
	}
}

func ask(client *connect.Client[message, message], method string) error {
	request := connect.NewRequest(wrapperspb.String("shop"))
	if !strings.HasPrefix(method, "List") {
		_, err := client.CallUnary(context.Background(), request)
		return err
	}
	stream, err := client.CallServerStream(context.Background(), request)
	if err != nil {
		return err
	}
	for stream.Receive() {
	}
	return errors.Join(stream.Err(), stream.Close())
}
