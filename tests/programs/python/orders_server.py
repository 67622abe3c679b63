"""The gRPC service `shop.Orders`. With a certificate and its key as arguments it speaks TLS."""

import sys
import threading
import time
from concurrent import futures

import grpc

SLEEP = 0.06
PAUSE = 0.02


def sleep(_request, _context):
    time.sleep(SLEEP)
    return b"slept"


def missing(_request, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such order")


def list_(_request, _context):
    for number in range(5):
        if number:
            time.sleep(PAUSE)
        yield b"order %d" % number


def broken(_request, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "the rest is gone")


def upload(requests, _context):
    return b"%d" % sum(1 for _ in requests)


def chat(requests, _context):
    yield from requests


def until_cancelled(context):
    is_over = threading.Event()
    if context.add_callback(is_over.set):
        is_over.wait()


def hang(_request, context):
    until_cancelled(context)
    return b"too late"


def watch(_request, context):
    yield b"first"
    until_cancelled(context)


METHODS = {
    "Get": grpc.unary_unary_rpc_method_handler(lambda request, _context: request),
    "Sleep": grpc.unary_unary_rpc_method_handler(sleep),
    "Missing": grpc.unary_unary_rpc_method_handler(missing),
    "List": grpc.unary_stream_rpc_method_handler(list_),
    "Broken": grpc.unary_stream_rpc_method_handler(broken),
    "Upload": grpc.stream_unary_rpc_method_handler(upload),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "Watch": grpc.unary_stream_rpc_method_handler(watch),
}

server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Orders", METHODS)])
if len(sys.argv) > 1:
    certificate, key = (open(name, "rb").read() for name in sys.argv[1:3])
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([(key, certificate)]))
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
print("listening", port, flush=True)
server.wait_for_termination()
