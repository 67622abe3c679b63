import com.sun.net.httpserver.HttpServer;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.ArrayList;
import java.util.List;
import java.util.Scanner;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;

/**
 * The web server of the JDK ({@code Web server}), and its client ({@code Web client}), which for each line {@code COUNT
 * URL} of its standard input makes so many requests, all at once, and says the last status.
 */
public final class Web {
    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("server")) {
            serve();
        } else {
            ask();
        }
    }

    private static void serve() throws Exception {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 128);
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.createContext("/", exchange -> {
            try (InputStream body = exchange.getRequestBody()) {
                body.readAllBytes();
            }
            String path = exchange.getRequestURI().getPath();
            if (path.equals("/sleep")) {
                try {
                    Thread.sleep(60);
                } catch (InterruptedException error) {
                    throw new IllegalStateException(error);
                }
            }
            byte[] answer = "hello".getBytes();
            int status = path.startsWith("/status/") ? Integer.parseInt(path.substring(8)) : 200;
            // A length of 0 means chunks.
            exchange.sendResponseHeaders(status, path.equals("/chunks") ? 0 : answer.length);
            exchange.getResponseBody().write(answer);
            exchange.close();
        });
        server.start();
        System.out.println("listening " + server.getAddress().getPort());
    }

    private static void ask() {
        HttpClient client = HttpClient.newHttpClient();
        Scanner lines = new Scanner(System.in);
        System.out.println("ready");
        while (lines.hasNextLine()) {
            String[] words = lines.nextLine().split(" ");
            HttpRequest request = HttpRequest.newBuilder(URI.create(words[1])).build();
            List<CompletableFuture<Integer>> statuses = new ArrayList<>();
            for (int i = 0; i < Integer.parseInt(words[0]); i++) {
                statuses.add(client.sendAsync(request, HttpResponse.BodyHandlers.discarding())
                        .thenApply(HttpResponse::statusCode));
            }
            int last = 0;
            for (CompletableFuture<Integer> status : statuses) {
                last = status.join();
            }
            System.out.println("done " + last);
        }
    }

    private Web() {}
}
