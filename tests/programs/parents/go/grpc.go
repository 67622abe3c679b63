package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
)

// plain is a codec of messages that are bytes already.
type plain struct{}

func (plain) Marshal(message any) ([]byte, error) { return *message.(*[]byte), nil }

func (plain) Unmarshal(data []byte, message any) error {
	*message.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (plain) Name() string { return "proto" }

// first is what metadata has by this name.
func first(of metadata.MD, name, otherwise string) string {
	if values := of.Get(name); len(values) > 0 {
		return values[0]
	}
	return otherwise
}

// serveGrpc answers any unary method, and makes its calls over one connection to each back end.
func serveGrpc(listener net.Listener) error {
	var channels []*grpc.ClientConn
	for _, port := range backends {
		channel, err := grpc.NewClient("127.0.0.1:"+port, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodec(plain{})))
		if err != nil {
			return err
		}
		channels = append(channels, channel)
	}
	call := func(ctx context.Context, method string, at int) error {
		var request, response []byte
		return channels[at%len(channels)].Invoke(ctx, fmt.Sprintf("%s.%d", method, at+1), &request, &response)
	}
	answer := func(_ any, stream grpc.ServerStream) error {
		var message []byte
		if err := stream.RecvMsg(&message); err != nil {
			return err
		}
		method, _ := grpc.MethodFromServerStream(stream)
		asked, _ := metadata.FromIncomingContext(stream.Context())
		pattern, count := first(asked, "pattern", setting("PATTERN", "sequential")), number(first(asked, "calls", setting("CALLS", "0")))
		// Some are left behind when the call is answered.
		ctx := context.Background()
		if carried := first(asked, "traceparent", ""); carried != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", carried)
		}
		var group errgroup.Group
		for at := range count {
			switch pattern {
			case "parallel":
				group.Go(func() error { return call(ctx, method, at) })
			case "forget":
				go func() { _ = call(ctx, method, at) }()
			default:
				if pattern == "pause" {
					time.Sleep(time.Millisecond + time.Duration(rand.IntN(4000))*time.Microsecond)
				}
				if err := call(ctx, method, at); err != nil {
					return err
				}
			}
		}
		if err := group.Wait(); err != nil {
			return err
		}
		return stream.SendMsg(&message)
	}
	// Goroutines that answer one call after the other, where there are any.
	workers := uint32(number(setting("WORKERS", "0")))
	server := grpc.NewServer(grpc.ForceServerCodec(plain{}), grpc.UnknownServiceHandler(answer), grpc.NumStreamWorkers(workers))
	return server.Serve(listener)
}
