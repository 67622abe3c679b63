// A service that begins spans by OpenTelemetry's API, without its SDK: Go's auto SDK is in it, which records them if somebody outside reads them. Asks the next one, if it is
// given its port, for each request that it gets.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
)

func main() {
	otel.SetTextMapPropagator(propagation.TraceContext{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(answer)))
}

func answer(response http.ResponseWriter, request *http.Request) {
	ctx := otel.GetTextMapPropagator().Extract(request.Context(), propagation.HeaderCarrier(request.Header))
	ctx, span := otel.Tracer("shop").Start(ctx, "work")
	defer span.End()
	if len(os.Args) > 1 {
		if err := ask(ctx, request.URL.Path+"/a"); err != nil {
			http.Error(response, err.Error(), http.StatusBadGateway)
			return
		}
	}
	fmt.Fprint(response, "ok")
}

func ask(ctx context.Context, path string) error {
	ctx, span := otel.Tracer("shop").Start(ctx, "ask")
	defer span.End()
	request, err := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1:"+os.Args[1]+path, nil)
	if err != nil {
		return err
	}
	otel.GetTextMapPropagator().Inject(ctx, propagation.HeaderCarrier(request.Header))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}
