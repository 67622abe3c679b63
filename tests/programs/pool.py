"""One thread reads the requests of all connections; a pool of others answers them."""

import selectors
import socket
import time
from concurrent.futures import ThreadPoolExecutor

listener = socket.create_server(("127.0.0.1", 0), backlog=128)
selector = selectors.DefaultSelector()
selector.register(listener, selectors.EVENT_READ)
pool = ThreadPoolExecutor(4)


def answer(connection):
    time.sleep(0.002)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
    connection.sendall(b"pooled")


print("listening", listener.getsockname()[1], flush=True)
while True:
    for key, _ in selector.select():
        if key.fileobj is listener:
            selector.register(listener.accept()[0], selectors.EVENT_READ)
        elif key.fileobj.recv(4096):
            pool.submit(answer, key.fileobj)
        else:
            selector.unregister(key.fileobj)
            key.fileobj.close()
