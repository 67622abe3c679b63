// Command orders is the gRPC service `shop.Orders` (`orders server [ADDRESS [CERTIFICATE KEY]]`) and a client of it (`orders client PORT
// [CERTIFICATE]`), with TLS if there is a certificate.
//
// On a line of its standard input the client makes its calls, and says of each its method, status and nanoseconds.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

const (
	sleep = 60 * time.Millisecond
	pause = 20 * time.Millisecond
)

// plain is a codec of messages that are bytes already.
type plain struct{}

func (plain) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (plain) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (plain) Name() string { return "proto" }

func main() {
	if os.Args[1] == "server" {
		serve()
	} else {
		call(os.Args[2])
	}
}

func unary(name string, answer func(context.Context, []byte) ([]byte, error)) grpc.MethodDesc {
	return grpc.MethodDesc{
		MethodName: name,
		Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var request []byte
			if err := decode(&request); err != nil {
				return nil, err
			}
			response, err := answer(ctx, request)
			return &response, err
		},
	}
}

func streaming(name string, client, server bool, handle func(grpc.ServerStream) error) grpc.StreamDesc {
	handler := func(_ any, stream grpc.ServerStream) error { return handle(stream) }
	return grpc.StreamDesc{StreamName: name, Handler: handler, ClientStreams: client, ServerStreams: server}
}

func send(stream interface{ SendMsg(any) error }, text string) error {
	message := []byte(text)
	return stream.SendMsg(&message)
}

func receive(stream interface{ RecvMsg(any) error }) (string, error) {
	var message []byte
	err := stream.RecvMsg(&message)
	return string(message), err
}

func serve() {
	service := &grpc.ServiceDesc{
		ServiceName: "shop.Orders",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			unary("Get", func(_ context.Context, request []byte) ([]byte, error) { return request, nil }),
			unary("Sleep", func(context.Context, []byte) ([]byte, error) {
				time.Sleep(sleep)
				return []byte("slept"), nil
			}),
			unary("Missing", func(context.Context, []byte) ([]byte, error) {
				return nil, status.Error(codes.NotFound, "no such order")
			}),
			unary("Hang", func(ctx context.Context, _ []byte) ([]byte, error) {
				<-ctx.Done()
				return nil, status.FromContextError(ctx.Err()).Err()
			}),
		},
		Streams: []grpc.StreamDesc{
			streaming("List", false, true, func(stream grpc.ServerStream) error {
				if _, err := receive(stream); err != nil {
					return err
				}
				return numbers(stream)
			}),
			streaming("Broken", false, true, func(stream grpc.ServerStream) error {
				for _, text := range []string{"one", "two"} {
					if err := send(stream, text); err != nil {
						return err
					}
				}
				return status.Error(codes.DataLoss, "the rest is gone")
			}),
			streaming("Upload", true, false, func(stream grpc.ServerStream) error {
				for count := 0; ; count++ {
					_, err := receive(stream)
					if errors.Is(err, io.EOF) {
						return send(stream, fmt.Sprint(count))
					} else if err != nil {
						return err
					}
				}
			}),
			streaming("Chat", true, true, func(stream grpc.ServerStream) error {
				for {
					text, err := receive(stream)
					if errors.Is(err, io.EOF) {
						return nil
					} else if err != nil {
						return err
					}
					if err := send(stream, text); err != nil {
						return err
					}
				}
			}),
			streaming("Watch", false, true, func(stream grpc.ServerStream) error {
				if err := send(stream, "first"); err != nil {
					return err
				}
				<-stream.Context().Done()
				return status.FromContextError(stream.Context().Err()).Err()
			}),
		},
	}
	options := []grpc.ServerOption{grpc.ForceServerCodec(plain{})}
	if len(os.Args) > 4 {
		encrypted, err := credentials.NewServerTLSFromFile(os.Args[3], os.Args[4])
		if err != nil {
			panic(err)
		}
		options = append(options, grpc.Creds(encrypted))
	}
	server := grpc.NewServer(options...)
	server.RegisterService(service, struct{}{})
	address := "127.0.0.1:0"
	if len(os.Args) > 2 {
		address = os.Args[2]
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		panic(err)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	panic(server.Serve(listener))
}

// numbers sends five messages with a pause between two.
func numbers(stream interface{ SendMsg(any) error }) error {
	for number := range 5 {
		if number > 0 {
			time.Sleep(pause)
		}
		if err := send(stream, fmt.Sprint(number)); err != nil {
			return err
		}
	}
	return nil
}

// drain receives until the end.
func drain(stream grpc.ClientStream) error {
	for {
		if _, err := receive(stream); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// names of the status codes that the calls end with.
var names = map[codes.Code]string{
	codes.OK: "OK", codes.NotFound: "NOT_FOUND", codes.Unimplemented: "UNIMPLEMENTED", codes.DataLoss: "DATA_LOSS",
	codes.DeadlineExceeded: "DEADLINE_EXCEEDED", codes.Canceled: "CANCELLED",
}

func call(port string) {
	codec := grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{}))
	transport := insecure.NewCredentials()
	if len(os.Args) > 3 {
		encrypted, err := credentials.NewClientTLSFromFile(os.Args[3], "localhost")
		if err != nil {
			panic(err)
		}
		transport = encrypted
	}
	channel, err := grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(transport), codec)
	if err != nil {
		panic(err)
	}
	var saying sync.Mutex
	timed := func(method string, work func() error) {
		began := time.Now()
		err := work()
		took := time.Since(began)
		saying.Lock()
		defer saying.Unlock()
		fmt.Println("called", method, names[status.Code(err)], took.Nanoseconds())
	}
	ask := func(ctx context.Context, method string) {
		timed(method, func() error {
			request, response := []byte("hello"), []byte(nil)
			return channel.Invoke(ctx, "/shop.Orders/"+method, &request, &response)
		})
	}
	open := func(ctx context.Context, method string, work func(grpc.ClientStream) error) {
		timed(method, func() error {
			kind := &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}
			stream, err := channel.NewStream(ctx, kind, "/shop.Orders/"+method)
			if err != nil {
				return err
			}
			return work(stream)
		})
	}
	askOnce := func(stream grpc.ClientStream) error {
		// The service may have ended it by then: how is told by what is received.
		if err := send(stream, "all"); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		return stream.CloseSend()
	}
	ctx := context.Background()
	input := bufio.NewReader(os.Stdin)
	line := func() { _, _ = input.ReadString('\n') }

	line()
	for range 20 {
		ask(ctx, "Get")
	}
	var group sync.WaitGroup
	for range 30 {
		group.Go(func() { ask(ctx, "Get") })
	}
	group.Wait()
	ask(ctx, "Sleep")
	ask(ctx, "Missing")
	ask(ctx, "Nowhere")
	for _, method := range []string{"List", "Broken"} {
		open(ctx, method, func(stream grpc.ClientStream) error {
			if err := askOnce(stream); err != nil {
				return err
			}
			return drain(stream)
		})
	}
	open(ctx, "Upload", func(stream grpc.ClientStream) error {
		if err := numbers(stream); err != nil {
			return err
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		return drain(stream)
	})
	open(ctx, "Chat", func(stream grpc.ClientStream) error {
		if err := numbers(stream); err != nil {
			return err
		}
		if err := stream.CloseSend(); err != nil {
			return err
		}
		return drain(stream)
	})
	short, cancel := context.WithTimeout(ctx, 150*time.Millisecond)
	ask(short, "Hang")
	cancel()
	watched, cancel := context.WithCancel(ctx)
	open(watched, "Watch", func(stream grpc.ClientStream) error {
		if err := askOnce(stream); err != nil {
			return err
		}
		if _, err := receive(stream); err != nil {
			return err
		}
		cancel()
		return drain(stream)
	})
	cancel()
	fmt.Println("done")
	line()
}
