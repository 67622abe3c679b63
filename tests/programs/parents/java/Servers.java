import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.nio.file.Files;
import java.time.Duration;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.util.threads.VirtualThreadExecutor;
import org.eclipse.jetty.io.Content;
import org.eclipse.jetty.server.Handler;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Response;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.util.Callback;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.netty.DisposableServer;
import reactor.netty.http.client.HttpClient;
import reactor.netty.http.server.HttpServer;
import reactor.netty.resources.ConnectionProvider;

/**
 * The same service on servers that others make: {@code Servers SERVER CLIENT} with {@code tomcat} (or {@code tomcat-virtual}, on virtual threads) or {@code jetty}, whose threads
 * make their calls, or {@code netty}, where Reactor makes them.
 */
public final class Servers {
    public static void main(String[] arguments) throws Exception {
        Parents.prepare("pool", arguments[1]);
        int port = Integer.parseInt(Parents.setting("LISTEN", "0"));
        switch (arguments[0]) {
            case "tomcat" -> tomcat(port, false);
            case "tomcat-virtual" -> tomcat(port, true);
            case "jetty" -> jetty(port);
            default -> netty(port);
        }
    }

    private static void tomcat(int port, boolean isVirtual) throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("tomcat").toString());
        tomcat.setPort(port);
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        if (isVirtual) {
            // As Spring Boot has it.
            tomcat.getConnector().getProtocolHandler().setExecutor(new VirtualThreadExecutor("answer-"));
        } else {
            tomcat.getConnector().setProperty("maxThreads", "32");
        }
        tomcat.getConnector().setProperty("acceptCount", "1024");
        tomcat.getConnector().setProperty("maxKeepAliveRequests", "-1");
        Context context = tomcat.addContext("", null);
        Tomcat.addServlet(context, "answer", new Servlet());
        context.addServletMappingDecoded("/*", "answer");
        tomcat.start();
        Parents.serves(tomcat.getConnector().getLocalPort());
    }

    @SuppressWarnings("serial")
    private static final class Servlet extends HttpServlet {
        @Override
        protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
            String context = request.getHeader("traceparent");
            new Parents.Ask(request.getRequestURI(), request.getQueryString(), context).makeCalls();
            response.setContentLength(2);
            response.getOutputStream().write("ok".getBytes());
        }
    }

    private static void jetty(int port) throws Exception {
        Server server = new Server();
        ServerConnector connector = new ServerConnector(server);
        connector.setHost("127.0.0.1");
        connector.setPort(port);
        connector.setAcceptQueueSize(1024);
        server.addConnector(connector);
        server.setHandler(new Handler.Abstract() {
            @Override
            public boolean handle(Request request, Response response, Callback callback) {
                String path = request.getHttpURI().getPath();
                String context = request.getHeaders().get("traceparent");
                new Parents.Ask(path, request.getHttpURI().getQuery(), context).makeCalls();
                Content.Sink.write(response, true, "ok", callback);
                return true;
            }
        });
        server.start();
        Parents.serves(connector.getLocalPort());
    }

    private static void netty(int port) {
        ConnectionProvider pool = ConnectionProvider.builder("bed")
                .maxConnections(Integer.parseInt(Parents.setting("POOL", "8")))
                .pendingAcquireMaxCount(-1)
                .build();
        HttpClient client = HttpClient.create(pool);
        DisposableServer server = HttpServer.create()
                .host("127.0.0.1")
                .port(port)
                .handle((request, response) -> {
                    String[] parts = request.uri().split("\\?", 2);
                    Parents.Ask ask = new Parents.Ask(
                            parts[0], parts.length > 1 ? parts[1] : null, request.requestHeaders().get("traceparent"));
                    return response.header("content-length", "2").sendString(made(client, ask).then(Mono.just("ok")));
                })
                .bindNow();
        Parents.serves(server.port());
        server.onDispose().block();
    }

    private static Mono<Void> made(HttpClient client, Parents.Ask ask) {
        Flux<String> urls = Flux.fromIterable(ask.urls);
        switch (ask.pattern) {
            case "parallel":
                return urls.flatMap(url -> call(client, url, ask.context)).then();
            case "forget":
                return urls.doOnNext(url -> call(client, url, ask.context).subscribe()).then();
            case "pause":
                return urls.concatMap(url ->
                                Mono.delay(Duration.ofMillis(Parents.pauseMs())).then(call(client, url, ask.context)))
                        .then();
            default:
                return urls.concatMap(url -> call(client, url, ask.context)).then();
        }
    }

    private static Mono<Void> call(HttpClient client, String url, String context) {
        return client.headers(headers -> {
                    if (context != null) {
                        headers.set("traceparent", context);
                    }
                })
                .get()
                .uri(url)
                .responseContent()
                .aggregate()
                .then();
    }

    private Servers() {}
}
