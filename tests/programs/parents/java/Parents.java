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
    private static final String[] BACKENDS = setting("BACKENDS", "").split(",");
    private static final Semaphore POOL = new Semaphore(Integer.parseInt(setting("POOL", "8")));
    private static final HttpClient CLIENT = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
    private static ExecutorService calls;
    private static boolean byUrl;

    private static String setting(String name, String otherwise) {
        String value = System.getenv(name);
        return value == null || value.isEmpty() ? otherwise : value;
    }

    private static ExecutorService threads(String kind, int count) throws ReflectiveOperationException {
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
        System.setProperty("http.maxConnections", setting("POOL", "8"));
        byUrl = arguments[1].equals("url");
        InetAddress loopback = InetAddress.getLoopbackAddress();
        HttpServer server =
                HttpServer.create(new InetSocketAddress(loopback, Integer.parseInt(setting("LISTEN", "0"))), 1024);
        server.setExecutor(threads(arguments[0], 32));
        calls = threads(arguments[0], 16);
        server.createContext("/", Parents::answer);
        server.start();
        inTheBackground(Integer.parseInt(setting("BACKGROUND", "0")));
        System.out.println("listening " + server.getAddress().getPort());
    }

    /** Work of the service's own, of no request. */
    private static void inTheBackground(int milliseconds) {
        Thread thread = new Thread(() -> {
            try {
                for (int at = 1; milliseconds > 0; at++) {
                    Thread.sleep(milliseconds);
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
        String query = exchange.getRequestURI().getQuery();
        String pattern = setting("PATTERN", "sequential");
        int count = Integer.parseInt(setting("CALLS", "0"));
        for (String part : (query == null ? "" : query).split("&")) {
            if (part.startsWith("p=")) {
                pattern = part.substring(2);
            } else if (part.startsWith("n=")) {
                count = Integer.parseInt(part.substring(2));
            }
        }
        String path = exchange.getRequestURI().getPath();
        String context = exchange.getRequestHeaders().getFirst("traceparent");
        List<Future<?>> begun = new ArrayList<>();
        try {
            for (int at = 0; at < count; at++) {
                String url = "http://127.0.0.1:" + BACKENDS[at % BACKENDS.length] + path + "." + (at + 1);
                if (pattern.equals("parallel") || pattern.equals("forget")) {
                    begun.add(calls.submit(() -> {
                        call(url, context);
                        return null;
                    }));
                    continue;
                }
                if (pattern.equals("pause")) {
                    Thread.sleep(1 + ThreadLocalRandom.current().nextInt(4));
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
        exchange.sendResponseHeaders(200, 2);
        exchange.getResponseBody().write("ok".getBytes());
        exchange.close();
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
