// A service whose own code uses OpenTelemetry's SDK, with otelhttp around its server (unless HANDLER is "bare") and its client; asks the
// next one, if it is given its port, twice for each request that it gets.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/sdk/trace"
)

func main() {
	exporter, err := otlptracehttp.New(context.Background())
	if err != nil {
		panic(err)
	}
	otel.SetTracerProvider(trace.NewTracerProvider(trace.WithBatcher(exporter)))
	otel.SetTextMapPropagator(propagation.TraceContext{})
	client := http.Client{Transport: otelhttp.NewTransport(http.DefaultTransport)}
	answer := func(response http.ResponseWriter, request *http.Request) {
		if len(os.Args) > 1 {
			for _, turn := range []string{"a", "b"} {
				if err := ask(request.Context(), &client, request.URL.Path+"/"+turn); err != nil {
					http.Error(response, err.Error(), http.StatusBadGateway)
					return
				}
			}
		}
		fmt.Fprint(response, "ok")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	var handler http.Handler = http.HandlerFunc(answer)
	if os.Getenv("HANDLER") != "bare" {
		handler = otelhttp.NewHandler(handler, "shop")
	}
	panic(http.Serve(listener, handler))
}

func ask(context context.Context, client *http.Client, path string) error {
	request, err := http.NewRequestWithContext(context, "GET", "http://127.0.0.1:"+os.Args[1]+path, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
