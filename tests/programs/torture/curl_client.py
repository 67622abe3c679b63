"""libcurl, over OpenSSL or GnuTLS: `curl_client.py LIBRARY ORDERS`. Orders, input and output are those of `torture client`.

A thread per connection, with a pool of one connection each; HTTP/2 has several streams at once on it."""

import ctypes
import json
import os
import sys
import threading
import time
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_long, c_void_p

curl = ctypes.CDLL(sys.argv[1])
libc = ctypes.CDLL(None)
for function in ("curl_easy_init", "curl_multi_init", "curl_slist_append"):
    getattr(curl, function).restype = c_void_p
libc.fopen.restype = c_void_p
curl.curl_global_init(3)

URL, WRITEDATA, READDATA, POSTFIELDS, HTTPHEADER, CUSTOMREQUEST = 10002, 10001, 10009, 10015, 10023, 10036
LOW_SPEED_LIMIT, LOW_SPEED_TIME = 19, 20
NOBODY, UPLOAD, POSTFIELDSIZE, VERIFYPEER, VERIFYHOST, HTTP_VERSION, NOSIGNAL, PIPEWAIT = 44, 46, 60, 64, 81, 84, 99, 237
RESPONSE_CODE, SIZE_DOWNLOAD, LOCAL_PORT, NUM_CONNECTS = 0x200002, 0x600008, 0x20002A, 0x20001A
MAX_TOTAL_CONNECTIONS, MULTIPLEXING = 13, 3
VERSIONS = {"Http1": 2, "Http1Tls": 2, "H2c": 5, "Http2Tls": 4}

orders = json.load(open(sys.argv[2]))
wire = orders["wire"]
scheme = "https" if wire.endswith("Tls") else "http"
nowhere = c_void_p(libc.fopen(b"/dev/null", b"w"))
go, connect, enough = threading.Event(), threading.Event(), threading.Event()
told, connected = [], threading.Semaphore(0)


class Message(Structure):
    _fields_ = [("what", c_int), ("easy", c_void_p), ("result", c_int)]


curl.curl_multi_info_read.restype = POINTER(Message)


def setopt(easy, option, value):
    value = c_long(value) if isinstance(value, int) else value
    error = curl.curl_easy_setopt(c_void_p(easy), c_int(option), value)
    assert error == 0, (option, error)


def info(easy, what, kind=c_long):
    value = kind()
    curl.curl_easy_getinfo(c_void_p(easy), c_int(what), byref(value))
    return value.value


def target(ask):
    a, n = ask["answer"], ask["number"]
    shape = a["shape"][0].lower()
    path = f"/s/{a['status']}/{a['bytes']}/{a['delay_ms']}/{shape}"
    return f"{path}?n={n}" if ask["by_query"] else f"{path}/{n}"


class Request:
    """A transfer, and what has to live as long."""

    def __init__(self, ask):
        self.ask = ask
        self.easy = easy = curl.curl_easy_init()
        self.file = None
        setopt(easy, URL, c_char_p(f"{scheme}://127.0.0.1:{orders['port']}{target(ask)}".encode()))
        setopt(easy, HTTP_VERSION, VERSIONS[wire])
        setopt(easy, WRITEDATA, nowhere)
        setopt(easy, NOSIGNAL, 1)
        # Of several streams libcurl 7.88 forgets one at times, watched or not, and would wait for ever.
        setopt(easy, LOW_SPEED_LIMIT, 1)
        setopt(easy, LOW_SPEED_TIME, 30)
        setopt(easy, VERIFYPEER, 0)
        setopt(easy, VERIFYHOST, 0)
        if orders["streams"] > 1:
            setopt(easy, PIPEWAIT, 1)
        self.headers = c_void_p(curl.curl_slist_append(None, b"Expect:"))
        setopt(easy, HTTPHEADER, self.headers)
        send = ask["send"]
        if ask["method"] == "HEAD":
            setopt(easy, NOBODY, 1)
        elif send != "Nothing":
            ((kind, count),) = send.items()
            if kind == "Whole":
                self.body = ctypes.create_string_buffer(b"q" * count, count + 1)
                setopt(easy, POSTFIELDSIZE, count)
                setopt(easy, POSTFIELDS, self.body)
            else:
                # Of unknown length: chunked.
                read, write = os.pipe()
                threading.Thread(target=self.feed, args=(write, count), daemon=True).start()
                libc.fdopen.restype = c_void_p
                self.file = c_void_p(libc.fdopen(read, b"r"))
                setopt(easy, UPLOAD, 1)
                setopt(easy, READDATA, self.file)
            setopt(easy, CUSTOMREQUEST, c_char_p(ask["method"].encode()))
        self.start = time.time_ns()

    @staticmethod
    def feed(to, count):
        try:
            with os.fdopen(to, "wb", 7000) as pipe:
                for at in range(0, count, 7000):
                    pipe.write(b"q" * min(7000, count - at))
        except BrokenPipeError:
            pass

    def over(self, result, place, again):
        end = time.time_ns()
        status = info(self.easy, RESPONSE_CODE) or None
        told.append({
            "number": self.ask["number"], "start": self.start, "end": end, "status": status if result == 0 else None,
            "bytes": info(self.easy, SIZE_DOWNLOAD, ctypes.c_int64), "port": info(self.easy, LOCAL_PORT), "place": place,
            "again": again, "error": f"curl's error {result}" if result else None,
        })
        curl.curl_easy_cleanup(c_void_p(self.easy))
        curl.curl_slist_free_all(self.headers)
        if self.file:
            libc.fclose(self.file)


def requests(multi, asks, at_once, place):
    """Makes all, so many at once."""
    multi = c_void_p(multi)
    running, left = {}, c_int()
    while asks and not enough.is_set() or running:
        while asks and len(running) < at_once and not enough.is_set():
            if orders["pace_us"]:
                time.sleep(orders["pace_us"] / 1e6 / at_once)
            request = Request(asks.pop(0))
            request.has_connection = place > 0
            running[request.easy] = request
            curl.curl_multi_add_handle(multi, c_void_p(request.easy))
        curl.curl_multi_perform(multi, byref(left))
        while message := curl.curl_multi_info_read(multi, byref(left)):
            request = running.pop(message.contents.easy)
            result = message.contents.result
            # One that breaks before a byte of the response has come is replaced, and the request made again.
            made = info(request.easy, NUM_CONNECTS) > 0
            again = made and request.has_connection
            if made:
                place = 0
            curl.curl_multi_remove_handle(multi, c_void_p(request.easy))
            request.over(result, place, again)
            place += 1
        if running:
            curl.curl_multi_poll(multi, None, 0, 20, None)
    return place


def connection(asks):
    connect.wait()
    lifetime = orders["lifetime"] or len(asks)
    before, place = orders["before"], 0
    while asks and not enough.is_set():
        multi = curl.curl_multi_init()
        curl.curl_multi_setopt(c_void_p(multi), c_int(MAX_TOTAL_CONNECTIONS), c_long(1))
        curl.curl_multi_setopt(c_void_p(multi), c_int(MULTIPLEXING), c_long(2))
        if before:
            place = requests(multi, [asks.pop(0) for _ in range(min(before, len(asks)))], 1, place)
            before = 0
            connected.release()
        go.wait()
        now, asks[:] = asks[:lifetime], asks[lifetime:]
        place = requests(multi, now, orders["streams"], place)
        if orders["lifetime"]:
            curl.curl_multi_cleanup(c_void_p(multi))
            place = 0


def words():
    for line in sys.stdin:
        word = line.strip()
        if word in ("connect", "go"):
            connect.set()
        if word == "connect":
            for _ in orders["asks"]:
                connected.acquire()
            print("connected", flush=True)
        elif word == "go":
            go.set()
        elif word == "enough":
            enough.set()
            go.set()
    os._exit(0)


threads = [threading.Thread(target=connection, args=(asks,)) for asks in orders["asks"]]
for thread in threads:
    thread.start()
listener = threading.Thread(target=words)
print("ready", flush=True)
listener.start()
for thread in threads:
    thread.join()
for one in told:
    print(json.dumps(one))
print("done", flush=True)
