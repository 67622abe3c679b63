import io.grpc.CallOptions;
import io.grpc.ClientCall;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.MethodDescriptor.MethodType;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.Status;
import io.grpc.netty.shaded.io.grpc.netty.NettyChannelBuilder;
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.ServerCalls;
import io.grpc.stub.StreamObserver;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.function.BiConsumer;

/**
 * The gRPC service {@code shop.Orders} ({@code Orders server}) and a client of it ({@code Orders client PORT}).
 *
 * <p>On a line of its standard input the client makes its calls, and says of each its method, status and nanoseconds.
 */
public final class Orders {
    private static final int SLEEP = 60;
    private static final int PAUSE = 20;

    /** Messages that are bytes already. */
    private static final MethodDescriptor.Marshaller<byte[]> PLAIN = new MethodDescriptor.Marshaller<>() {
        @Override
        public InputStream stream(byte[] message) {
            return new ByteArrayInputStream(message);
        }

        @Override
        public byte[] parse(InputStream stream) {
            try {
                return stream.readAllBytes();
            } catch (IOException error) {
                throw new IllegalStateException(error);
            }
        }
    };

    private static MethodDescriptor<byte[], byte[]> method(MethodType type, String name) {
        return MethodDescriptor.newBuilder(PLAIN, PLAIN).setType(type).setFullMethodName("shop.Orders/" + name).build();
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments[0].equals("server")) {
            serve();
        } else {
            new Client(Integer.parseInt(arguments[1])).run();
        }
    }

    private static void pause(int milliseconds) {
        try {
            Thread.sleep(milliseconds);
        } catch (InterruptedException error) {
            throw new IllegalStateException(error);
        }
    }

    private static void unary(
            ServerServiceDefinition.Builder service, String name, BiConsumer<byte[], StreamObserver<byte[]>> answer) {
        service.addMethod(method(MethodType.UNARY, name), ServerCalls.asyncUnaryCall(answer::accept));
    }

    private static void list(
            ServerServiceDefinition.Builder service, String name, BiConsumer<byte[], StreamObserver<byte[]>> answer) {
        service.addMethod(method(MethodType.SERVER_STREAMING, name), ServerCalls.asyncServerStreamingCall(answer::accept));
    }

    private static void answer(StreamObserver<byte[]> to, byte[] message) {
        to.onNext(message);
        to.onCompleted();
    }

    /** Leaves a call alone when its client goes away. */
    private static void untilCancelled(StreamObserver<byte[]> to) {
        ((ServerCallStreamObserver<byte[]>) to).setOnCancelHandler(() -> {});
    }

    private static void serve() throws Exception {
        ServerServiceDefinition.Builder service = ServerServiceDefinition.builder("shop.Orders");
        unary(service, "Get", (request, to) -> answer(to, request));
        unary(service, "Sleep", (request, to) -> {
            pause(SLEEP);
            answer(to, "slept".getBytes());
        });
        unary(service, "Missing", (request, to) ->
                to.onError(Status.NOT_FOUND.withDescription("no such order").asException()));
        unary(service, "Hang", (request, to) -> untilCancelled(to));
        list(service, "List", (request, to) -> {
            for (int number = 0; number < 5; number++) {
                if (number > 0) {
                    pause(PAUSE);
                }
                to.onNext(("order " + number).getBytes());
            }
            to.onCompleted();
        });
        list(service, "Broken", (request, to) -> {
            to.onNext("one".getBytes());
            to.onNext("two".getBytes());
            to.onError(Status.DATA_LOSS.withDescription("the rest is gone").asException());
        });
        list(service, "Watch", (request, to) -> {
            untilCancelled(to);
            to.onNext("first".getBytes());
        });
        service.addMethod(method(MethodType.CLIENT_STREAMING, "Upload"), ServerCalls.asyncClientStreamingCall(to ->
                new Requests() {
                    private int count;

                    @Override
                    public void onNext(byte[] message) {
                        count++;
                    }

                    @Override
                    public void onCompleted() {
                        answer(to, Integer.toString(count).getBytes());
                    }
                }));
        service.addMethod(method(MethodType.BIDI_STREAMING, "Chat"), ServerCalls.asyncBidiStreamingCall(to ->
                new Requests() {
                    @Override
                    public void onNext(byte[] message) {
                        to.onNext(message);
                    }

                    @Override
                    public void onCompleted() {
                        to.onCompleted();
                    }
                }));
        Server server =
                NettyServerBuilder.forAddress(new InetSocketAddress("127.0.0.1", 0)).addService(service.build()).build();
        server.start();
        System.out.println("listening " + server.getPort());
        server.awaitTermination();
    }

    /** Messages of a client. */
    private abstract static class Requests implements StreamObserver<byte[]> {
        @Override
        public void onError(Throwable error) {}
    }

    private static final class Client {
        private static final byte[] HELLO = "hello".getBytes();

        private final ManagedChannel channel;

        Client(int port) {
            channel = NettyChannelBuilder.forAddress("127.0.0.1", port).usePlaintext().build();
        }

        private interface Work {
            CompletableFuture<Status> begin();
        }

        /** The status at the end of a call. */
        private static final class Over implements StreamObserver<byte[]> {
            private final CompletableFuture<Status> status = new CompletableFuture<>();

            @Override
            public void onNext(byte[] message) {}

            @Override
            public void onError(Throwable error) {
                status.complete(Status.fromThrowable(error));
            }

            @Override
            public void onCompleted() {
                status.complete(Status.OK);
            }
        }

        private CompletableFuture<Void> timed(String method, Work work) {
            long began = System.nanoTime();
            return work.begin().thenAccept(status -> {
                long took = System.nanoTime() - began;
                synchronized (System.out) {
                    System.out.println("called " + method + " " + status.getCode() + " " + took);
                }
            });
        }

        private CompletableFuture<Void> ask(String name, CallOptions options) {
            return timed(name, () -> {
                Over over = new Over();
                ClientCalls.asyncUnaryCall(channel.newCall(method(MethodType.UNARY, name), options), HELLO, over);
                return over.status;
            });
        }

        private void ask(String name) {
            ask(name, CallOptions.DEFAULT).join();
        }

        private void list(String name) {
            timed(name, () -> {
                Over over = new Over();
                ClientCalls.asyncServerStreamingCall(
                        channel.newCall(method(MethodType.SERVER_STREAMING, name), CallOptions.DEFAULT), HELLO, over);
                return over.status;
            }).join();
        }

        private static void numbers(StreamObserver<byte[]> to) {
            for (int number = 0; number < 5; number++) {
                if (number > 0) {
                    pause(PAUSE);
                }
                to.onNext(Integer.toString(number).getBytes());
            }
            to.onCompleted();
        }

        void run() throws Exception {
            System.in.read();
            for (int i = 0; i < 20; i++) {
                ask("Get");
            }
            List<CompletableFuture<Void>> many = new ArrayList<>();
            for (int i = 0; i < 30; i++) {
                many.add(ask("Get", CallOptions.DEFAULT));
            }
            many.forEach(CompletableFuture::join);
            ask("Sleep");
            ask("Missing");
            ask("Nowhere");
            list("List");
            list("Broken");
            timed("Upload", () -> {
                Over over = new Over();
                numbers(ClientCalls.asyncClientStreamingCall(
                        channel.newCall(method(MethodType.CLIENT_STREAMING, "Upload"), CallOptions.DEFAULT), over));
                return over.status;
            }).join();
            timed("Chat", () -> {
                Over over = new Over();
                numbers(ClientCalls.asyncBidiStreamingCall(
                        channel.newCall(method(MethodType.BIDI_STREAMING, "Chat"), CallOptions.DEFAULT), over));
                return over.status;
            }).join();
            ask("Hang", CallOptions.DEFAULT.withDeadlineAfter(150, TimeUnit.MILLISECONDS)).join();
            timed("Watch", this::watch).join();
            System.out.println("done");
            while (System.in.read() != -1) {}
        }

        /** Cancels after the first message. */
        private CompletableFuture<Status> watch() {
            CompletableFuture<Status> over = new CompletableFuture<>();
            ClientCall<byte[], byte[]> call =
                    channel.newCall(method(MethodType.SERVER_STREAMING, "Watch"), CallOptions.DEFAULT);
            call.start(new ClientCall.Listener<>() {
                @Override
                public void onMessage(byte[] message) {
                    call.cancel("seen enough", null);
                }

                @Override
                public void onClose(Status status, Metadata trailers) {
                    over.complete(status);
                }
            }, new Metadata());
            call.request(2);
            call.sendMessage(HELLO);
            call.halfClose();
            return over;
        }
    }

    private Orders() {}
}
