"""Answers calls of Thrift in frames, of both protocols. Usage: PORT. Says how many it has answered."""

import socketserver
import sys
import threading

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TApplicationException, TMessageType, TType
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TFramedTransport, TTransportException

answered, lock = 0, threading.Lock()


def answer(reader, writer):
    global answered
    name, kind, number = reader.readMessageBegin()
    reader.skip(TType.STRUCT)
    reader.readMessageEnd()
    with lock:
        answered += 1
    if kind == TMessageType.ONEWAY:
        return
    if name == "unknown":
        writer.writeMessageBegin(name, TMessageType.EXCEPTION, number)
        TApplicationException(TApplicationException.UNKNOWN_METHOD, "secret").write(writer)
    else:
        writer.writeMessageBegin(name, TMessageType.REPLY, number)
        writer.writeStructBegin("result")
        if name == "divide":
            writer.writeFieldBegin("oops", TType.STRUCT, 1)
            writer.writeStructBegin("Oops")
            writer.writeFieldStop()
            writer.writeStructEnd()
            writer.writeFieldEnd()
        else:
            writer.writeFieldBegin("success", TType.STRING, 0)
            writer.writeString("secret" * 3000)
            writer.writeFieldEnd()
        writer.writeFieldStop()
        writer.writeStructEnd()
    writer.writeMessageEnd()
    writer.trans.flush()


class Handler(socketserver.BaseRequestHandler):
    def handle(self):
        socket = TSocket()
        socket.setHandle(self.request)
        transport = TFramedTransport(socket)
        try:
            first = self.request.recv(5, 0x2)
            protocol = TBinaryProtocol if first[4:5] == b"\x80" else TCompactProtocol
            while True:
                answer(protocol(transport), protocol(transport))
        except (TTransportException, EOFError, ConnectionError):
            pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address, daemon_threads = True, True


server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print("ready", flush=True)
sys.stdin.readline()
print(f"answered {answered}", flush=True)
sys.stdin.readline()
