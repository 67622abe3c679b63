"""A gRPC client of `shop.Orders` at the port of its first argument. With a certificate as its second it speaks TLS.

On a line of its standard input it makes its calls, and says of each its method, status and nanoseconds.
"""

import sys
import time
from concurrent import futures

import grpc

PAUSE = 0.02

port = sys.argv[1]
if len(sys.argv) > 2:
    credentials = grpc.ssl_channel_credentials(open(sys.argv[2], "rb").read())
    channel = grpc.secure_channel(f"localhost:{port}", credentials)
else:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")


def call(method, work):
    began = time.monotonic_ns()
    try:
        work()
        status = grpc.StatusCode.OK
    except grpc.RpcError as error:
        status = error.code()
    # One write: calls end on many threads.
    sys.stdout.write(f"called {method} {status.name} {time.monotonic_ns() - began}\n")


def unary(method, **options):
    call(method, lambda: channel.unary_unary(f"/shop.Orders/{method}")(b"hello", **options))


def server_stream(method):
    call(method, lambda: list(channel.unary_stream(f"/shop.Orders/{method}")(b"all")))


def numbers():
    for number in range(5):
        if number:
            time.sleep(PAUSE)
        yield b"%d" % number


def watch():
    stream = channel.unary_stream("/shop.Orders/Watch")(b"all")
    next(stream)
    stream.cancel()
    next(stream)


sys.stdin.readline()
for _ in range(20):
    unary("Get")
with futures.ThreadPoolExecutor(10) as pool:
    for _ in range(30):
        pool.submit(unary, "Get")
unary("Sleep")
unary("Missing")
unary("Nowhere")
server_stream("List")
server_stream("Broken")
call("Upload", lambda: channel.stream_unary("/shop.Orders/Upload")(numbers()))
call("Chat", lambda: list(channel.stream_stream("/shop.Orders/Chat")(numbers())))
unary("Hang", timeout=0.15)
call("Watch", watch)
print("done", flush=True)
sys.stdin.readline()
