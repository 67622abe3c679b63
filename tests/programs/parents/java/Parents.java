import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadLocalRandom;

/**
 * A service of the JDK: {@code Parents THREADS CLIENT}. Requests are answered by a pool of platform threads ({@code pool}) or a
 * virtual thread each ({@code virtual}, from 21 on); calls are made by HttpURLConnection ({@code url}) or HttpClient
 * ({@code client}). How it is told what to call: see tests/src/parents/mod.rs.
 */
public final class Parents {
    static final String[] BACKENDS = setting("BACKENDS", "").split(",");
    private static final Semaphore POOL = new Semaphore(Integer.parseInt(setting("POOL", "8")));
    private static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static ExecutorService calls;
    private static boolean byUrl;

    static String setting(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    static ExecutorService threads(String kind, int count) throws ReflectiveOperationException {
        if (kind.equals("virtual")) {
            // By its name: older releases compile this, too.
            return (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        }
        return Executors.newFixedThreadPool(count, task -> {
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            return thread;
        });
    }

    public static void main(String[] arguments) throws Exception {
        prepare(arguments[0], arguments[1]);
        InetAddress loopback = InetAddress.getLoopbackAddress();
        HttpServer server =
                HttpServer.create(new InetSocketAddress(loopback, Integer.parseInt(setting("LISTEN", "0"))), 1024);
        server.setExecutor(threads(arguments[0], 32));
        server.createContext("/", Parents::answer);
        server.start();
        serves(server.getAddress().getPort());
    }

    /** Before anything is asked: the threads that calls are made by, and what makes them. */
    static void prepare(String threads, String client) throws ReflectiveOperationException {
        System.setProperty("http.maxConnections", setting("POOL", "8"));
        // Answers go in two pieces, the second of which would wait for an acknowledgement.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        byUrl = client.equals("url");
        calls = threads(threads, 16);
    }

    /** The server listens. */
    static void serves(int port) {
        inTheBackground(Integer.parseInt(setting("BACKGROUND", "0")));
        System.out.println("listening " + port);
    }

    private static volatile boolean wasAsked;

    /** Work of the service's own, of no request, from the first on. */
    private static void inTheBackground(int milliseconds) {
        Thread thread = new Thread(() -> {
            try {
                for (int at = 1; milliseconds > 0; at++) {
                    Thread.sleep(milliseconds);
                    if (!wasAsked) {
                        continue;
                    }
                    call("http://127.0.0.1:" + BACKENDS[0] + "/background" + ProcessHandle.current().pid() + "n" + at, null);
                }
            } catch (Exception error) {
                error.printStackTrace();
                System.exit(1);
            }
        });
        thread.setDaemon(true);
        thread.start();
    }

    private static void answer(HttpExchange exchange) throws IOException {
        String context = exchange.getRequestHeaders().getFirst("traceparent");
        new Ask(exchange.getRequestURI().getPath(), exchange.getRequestURI().getQuery(), context).makeCalls();
        exchange.sendResponseHeaders(200, 2);
        exchange.getResponseBody().write("ok".getBytes());
        exchange.close();
    }

    /** What a request wants. */
    static final class Ask {
        String pattern = setting("PATTERN", "sequential");
        final String context;
        final List<String> urls = new ArrayList<>();

        Ask(String path, String query, String context) {
            wasAsked = true;
            this.context = context;
            int count = Integer.parseInt(setting("CALLS", "0"));
            for (String part : (query == null ? "" : query).split("&")) {
                if (part.startsWith("p=")) {
                    pattern = part.substring(2);
                } else if (part.startsWith("n=")) {
                    count = Integer.parseInt(part.substring(2));
                }
            }
            for (int at = 0; at < count; at++) {
                urls.add("http://127.0.0.1:" + BACKENDS[at % BACKENDS.length] + path + "." + (at + 1));
            }
        }

        /** By the thread that answers, or, where they are side by side or forgotten, by those of an executor. */
        void makeCalls() {
            try {
                List<Future<?>> begun = new ArrayList<>();
                for (String url : urls) {
                    if (pattern.equals("parallel") || pattern.equals("forget")) {
                        begun.add(calls.submit(() -> {
                            call(url, context);
                            return null;
                        }));
                        continue;
                    }
                    if (pattern.equals("pause")) {
                        Thread.sleep(pauseMs());
                    }
                    call(url, context);
                }
                if (pattern.equals("parallel")) {
                    for (Future<?> one : begun) {
                        one.get();
                    }
                }
            } catch (Exception error) {
                error.printStackTrace();
                System.exit(1);
            }
        }
    }

    static int pauseMs() {
        return 1 + ThreadLocalRandom.current().nextInt(4);
    }

    private static void call(String url, String context) throws Exception {
        POOL.acquire();
        try {
            if (byUrl) {
                HttpURLConnection connection = (HttpURLConnection) URI.create(url).toURL().openConnection();
                if (context != null) {
                    connection.setRequestProperty("traceparent", context);
                }
                try (InputStream body = connection.getInputStream()) {
                    body.readAllBytes();
                }
                return;
            }
            HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(url));
            if (context != null) {
                request.header("traceparent", context);
            }
            CLIENT.send(request.build(), HttpResponse.BodyHandlers.discarding());
        } finally {
            POOL.release();
        }
    }

    private Parents() {}
}
