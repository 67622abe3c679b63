"""A client of RabbitMQ (pika) at the port of its first argument, for the queue of the second; over TLS where a third names a certificate.

It connects, says `ready`, and on a line of its standard input publishes and consumes, says `sent N` and `received N`, and `done`.
"""

import ssl
import sys

import pika

CONTEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
port, queue, *certificate = sys.argv[1:]
over = pika.SSLOptions(ssl.create_default_context(cafile=certificate[0]), "localhost") if certificate else None
at = pika.ConnectionParameters("127.0.0.1", int(port), ssl_options=over)
sent = received = 0


def publish(channel, exchange="", headers=None, body=b"secret"):
    properties = pika.BasicProperties(content_type="text/plain", headers=headers, message_id="message-1")
    channel.basic_publish(exchange, queue, body, properties)


older = pika.BlockingConnection(at)
plain = older.channel()
plain.queue_declare(queue)
publish(plain)
plain.queue_declare(queue, passive=True)
print("ready", flush=True)
sys.stdin.readline()

for _ in range(5):
    publish(plain)
    sent += 1
connection = pika.BlockingConnection(at)
channel = connection.channel()
channel.confirm_delivery()
for _ in range(19):
    publish(channel)
    sent += 1
publish(channel, headers={"other": "secret", "traceparent": CONTEXT})
publish(channel, body=b"secret" * 10_000)
sent += 2
wrong = connection.channel()
wrong.confirm_delivery()
try:
    publish(wrong, exchange="nowhere")
    raise SystemExit("that should fail")
except pika.exceptions.ChannelClosedByBroker:
    pass
method, _, body = channel.basic_get(queue)
channel.basic_ack(method.delivery_tag)
received += 1
channel.basic_qos(prefetch_count=10)
for method, _, body in channel.consume(queue, inactivity_timeout=20):
    assert method is not None, "nothing comes"
    received += 1
    if received == sent + 1:
        channel.basic_nack(method.delivery_tag, requeue=False)
        break
    channel.basic_ack(method.delivery_tag)
channel.queue_declare(queue, passive=True)
print("sent", sent, flush=True)
print("received", received, flush=True)
print("done", flush=True)
sys.stdin.readline()
