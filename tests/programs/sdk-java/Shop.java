import com.sun.net.httpserver.HttpServer;
import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.util.concurrent.Executors;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

/**
 * A service; asks the next one, if it is given its port, twice for each request that it gets. {@code Shop tomcat [PORT]}: its threads ask
 * by {@code HttpClient}; {@code Shop jdk [PORT]}: by {@code HttpURLConnection}.
 */
public final class Shop {
    private static final HttpClient CLIENT = HttpClient.newHttpClient();
    private static String next;

    public static void main(String[] arguments) throws Exception {
        next = arguments.length > 1 ? arguments[1] : null;
        int port = arguments[0].equals("tomcat") ? tomcat() : jdk();
        System.out.println("listening " + port);
        Thread.currentThread().join();
    }

    private static int tomcat() throws Exception {
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(Files.createTempDirectory("tomcat").toString());
        tomcat.setPort(0);
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        Context context = tomcat.addContext("", null);
        Tomcat.addServlet(context, "answer", new Servlet());
        context.addServletMappingDecoded("/*", "answer");
        tomcat.start();
        return tomcat.getConnector().getLocalPort();
    }

    @SuppressWarnings("serial")
    private static final class Servlet extends HttpServlet {
        @Override
        protected void doGet(HttpServletRequest request, HttpServletResponse response) throws IOException {
            for (String turn : turns()) {
                try {
                    HttpRequest asked = HttpRequest.newBuilder(of(request.getRequestURI(), turn)).build();
                    CLIENT.send(asked, HttpResponse.BodyHandlers.ofByteArray());
                } catch (InterruptedException error) {
                    throw new IOException(error);
                }
            }
            response.setContentLength(2);
            response.getOutputStream().write("ok".getBytes());
        }
    }

    private static int jdk() throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(InetAddress.getLoopbackAddress(), 0), 0);
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.createContext("/", exchange -> {
            for (String turn : turns()) {
                try (InputStream body = of(exchange.getRequestURI().getPath(), turn).toURL().openStream()) {
                    body.readAllBytes();
                }
            }
            exchange.sendResponseHeaders(200, 2);
            exchange.getResponseBody().write("ok".getBytes());
            exchange.close();
        });
        server.start();
        return server.getAddress().getPort();
    }

    private static String[] turns() {
        return next == null ? new String[0] : new String[] {"a", "b"};
    }

    private static URI of(String path, String turn) {
        return URI.create("http://127.0.0.1:" + next + path + "/" + turn);
    }
}
