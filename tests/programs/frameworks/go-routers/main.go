// Command go-routers serves by the router that its first argument names: chi, gin, echo, gorilla or fiber. Each has paths of its own: what a
// program has in it does not say which of its routers it serves by.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/gin-gonic/gin"
	"github.com/go-chi/chi/v5"
	"github.com/gofiber/fiber/v2"
	"github.com/gorilla/mux"
	"github.com/labstack/echo/v4"
)

func ok(writer http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(writer, "ok") }

func ofChi() http.Handler {
	router := chi.NewRouter()
	router.Get("/chi", ok)
	router.Get("/chi/{id}", ok)
	router.Get("/chi/{id}/parts/{part:[0-9]+}", ok)
	router.Route("/chi-v1", func(below chi.Router) {
		below.Get("/users/{name}", ok)
	})
	return router
}

func ofGin() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	answer := func(context *gin.Context) { context.String(http.StatusOK, "ok") }
	router.GET("/gin", answer)
	router.GET("/gin/:id", answer)
	router.GET("/gin/:id/parts/:part", answer)
	below := router.Group("/gin-v1")
	below.GET("/users/:name", answer)
	return router
}

func ofEcho() http.Handler {
	router := echo.New()
	answer := func(context echo.Context) error { return context.String(http.StatusOK, "ok") }
	router.GET("/echo", answer)
	router.GET("/echo/:id", answer)
	router.GET("/echo/:id/parts/:part", answer)
	below := router.Group("/echo-v1")
	below.GET("/users/:name", answer)
	return router
}

func ofGorilla() http.Handler {
	router := mux.NewRouter()
	router.HandleFunc("/gorilla", ok).Methods("GET")
	router.HandleFunc("/gorilla/{id}", ok).Methods("GET")
	router.HandleFunc("/gorilla/{id}/parts/{part:[0-9]+}", ok).Methods("GET")
	below := router.PathPrefix("/gorilla-v1").Subrouter()
	below.HandleFunc("/users/{name}", ok)
	return router
}

func ofFiber() *fiber.App {
	router := fiber.New(fiber.Config{DisableStartupMessage: true})
	answer := func(context *fiber.Ctx) error { return context.SendString("ok") }
	router.Get("/fiber", answer)
	router.Get("/fiber/:id", answer)
	router.Get("/fiber/:id/parts/:part", answer)
	return router
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	if os.Args[1] == "fiber" {
		panic(ofFiber().Listener(listener))
	}
	handlers := map[string]func() http.Handler{"chi": ofChi, "gin": ofGin, "echo": ofEcho, "gorilla": ofGorilla}
	panic(http.Serve(listener, handlers[os.Args[1]]()))
}
