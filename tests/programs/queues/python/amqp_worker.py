"""Deals with messages, one after the other: asks a service about each before it acknowledges it. Usage: PORT of the broker, PORT of the
service. Says `ready`; told to, it publishes messages and deals with them, and says `done`.
"""

import http.client
import sys

import pika

MESSAGES = 20

print("ready", flush=True)
sys.stdin.readline()
connection = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", int(sys.argv[1])))
channel = connection.channel()
channel.queue_declare("work")
for nth in range(MESSAGES):
    channel.basic_publish("", "work", str(nth).encode())
channel.basic_qos(prefetch_count=1)
for method, _, body in channel.consume("work", inactivity_timeout=20):
    assert method is not None, "nothing comes"
    service = http.client.HTTPConnection("127.0.0.1", int(sys.argv[2]))
    service.request("GET", f"/echo?order={body.decode()}")
    service.getresponse().read()
    service.close()
    channel.basic_ack(method.delivery_tag)
    if int(body) == MESSAGES - 1:
        break
channel.cancel()
connection.close()
print("done", flush=True)
sys.stdin.readline()
