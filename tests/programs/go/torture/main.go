// Command torture answers as a request's target says (/s/STATUS/BYTES/DELAY/SHAPE/NUMBER): HTTP/1.1 and HTTP/2, in the clear and
// over TLS, and calls of gRPC (/torture.T/cSTATUS-BYTES-DELAY-SHAPE-NUMBER) by grpc-go, also both ways. `torture CERTIFICATE
// KEY` prints the four ports.
package main

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

const piece = 7000

type answer struct {
	status, bytes int
	delay         time.Duration
	shape         string
}

func parse(words []string) (answer, error) {
	if len(words) < 4 {
		return answer{}, fmt.Errorf("no target of ours: %v", words)
	}
	var numbers [3]int
	for i := range numbers {
		number, err := strconv.Atoi(words[i])
		if err != nil {
			return answer{}, err
		}
		numbers[i] = number
	}
	return answer{numbers[0], numbers[1], time.Duration(numbers[2]) * time.Millisecond, words[3]}, nil
}

func (a answer) pieces() []int {
	size := a.bytes
	switch a.shape {
	case "p":
		size = piece
	case "s":
		size = max(piece, (a.bytes+7)/8)
	}
	var all []int
	for left := a.bytes; left > 0; left -= size {
		all = append(all, min(left, size))
	}
	return all
}

func (a answer) pause() {
	if a.shape == "s" {
		time.Sleep(2 * time.Millisecond)
	}
}

func serve(response http.ResponseWriter, request *http.Request) {
	io.Copy(io.Discard, request.Body)
	answer, err := parse(strings.Split(strings.TrimPrefix(request.URL.Path, "/s/"), "/"))
	if err != nil {
		http.Error(response, err.Error(), http.StatusTeapot)
		return
	}
	time.Sleep(answer.delay)
	noBody := answer.status == 204 || answer.status == 304
	if answer.shape == "w" && !noBody {
		response.Header().Set("Content-Length", strconv.Itoa(answer.bytes))
	}
	response.WriteHeader(answer.status)
	if noBody || request.Method == "HEAD" {
		return
	}
	for _, size := range answer.pieces() {
		response.Write(bytes.Repeat([]byte("a"), size))
		if answer.shape != "w" {
			response.(http.Flusher).Flush()
			answer.pause()
		}
	}
}

// plain has messages as they are.
type plain struct{}

func (plain) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (plain) Unmarshal(data []byte, v any) error { *v.(*[]byte) = bytes.Clone(data); return nil }
func (plain) Name() string                       { return "proto" }

func call(_ any, stream grpc.ServerStream) error {
	for {
		var message []byte
		if err := stream.RecvMsg(&message); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
	}
	method, _ := grpc.MethodFromServerStream(stream)
	answer, err := parse(strings.Split(strings.TrimPrefix(method, "/torture.T/c"), "-"))
	if err != nil {
		return status.Error(codes.DataLoss, err.Error())
	}
	time.Sleep(answer.delay)
	if answer.status != 0 {
		return status.Error(codes.Code(answer.status), "as asked")
	}
	sizes := answer.pieces()
	if len(sizes) == 0 {
		sizes = []int{0}
	}
	for _, size := range sizes {
		message := make([]byte, size)
		if err := stream.SendMsg(&message); err != nil {
			return err
		}
		answer.pause()
	}
	return nil
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func main() {
	var listeners [4]net.Listener
	ports := []any{"listening"}
	for i := range listeners {
		listeners[i] = must(net.Listen("tcp", "127.0.0.1:0"))
		ports = append(ports, listeners[i].Addr().(*net.TCPAddr).Port)
	}
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: http.HandlerFunc(serve), Protocols: &protocols}
	go server.Serve(listeners[0])
	go server.ServeTLS(listeners[1], os.Args[1], os.Args[2])
	options := []grpc.ServerOption{grpc.UnknownServiceHandler(call), grpc.ForceServerCodec(plain{})}
	certificate := must(tls.LoadX509KeyPair(os.Args[1], os.Args[2]))
	go grpc.NewServer(options...).Serve(listeners[2])
	go grpc.NewServer(append(options, grpc.Creds(credentials.NewServerTLSFromCert(&certificate)))...).Serve(listeners[3])
	fmt.Println(ports...)
	io.Copy(io.Discard, os.Stdin)
}
