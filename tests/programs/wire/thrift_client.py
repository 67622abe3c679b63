"""Calls methods over Thrift in frames, by both protocols. Usage: PORT"""

import sys

from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TCompactProtocol import TCompactProtocol
from thrift.Thrift import TMessageType, TType
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TFramedTransport

ROUNDS = 20
port = int(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()


def call(protocol, name, number, kind=TMessageType.CALL):
    protocol.writeMessageBegin(name, kind, number)
    protocol.writeStructBegin("args")
    protocol.writeFieldBegin("text", TType.STRING, 1)
    protocol.writeString("secret" * 1000)
    protocol.writeFieldEnd()
    protocol.writeFieldStop()
    protocol.writeStructEnd()
    protocol.writeMessageEnd()
    protocol.trans.flush()
    if kind == TMessageType.CALL:
        assert protocol.readMessageBegin()[0] == name
        protocol.skip(TType.STRUCT)
        protocol.readMessageEnd()


for kind in (TBinaryProtocol, TCompactProtocol):
    transport = TFramedTransport(TSocket("127.0.0.1", port))
    transport.open()
    protocol = kind(transport)
    for nth in range(ROUNDS):
        call(protocol, "total", 0)
        call(protocol, "divide", 0)
        call(protocol, "unknown", nth)
        call(protocol, "log", nth, TMessageType.ONEWAY)
    call(protocol, "total", 0)
    transport.close()
print("done", flush=True)
sys.stdin.readline()
