"""A client of Kafka (librdkafka) at the port of its first argument, for the topic of the second.

It connects, says `ready`, and on a line of its standard input sends and fetches, says `sent N` and `received N`, and `done`.
"""

import sys

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

at, topic = {"bootstrap.servers": f"127.0.0.1:{sys.argv[1]}"}, sys.argv[2]
CONTEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
counts = {"sent": 0, "failed": 0, "received": 0}


def delivered(error, message):
    counts["failed" if error else "sent"] += 1


producer = Producer({**at, "client.id": "shop", "linger.ms": 50})
producer.produce(topic, "secret-0", partition=0, callback=delivered)
producer.flush()
consumer = Consumer({**at, "client.id": "packer", "group.id": f"group-{topic}", "enable.auto.commit": False})
print("ready", flush=True)
sys.stdin.readline()

consumer.assign([TopicPartition(topic, partition, 0) for partition in (0, 1)])
first = consumer.poll(20)
assert first is not None and first.error() is None, first
counts["received"] += 1
counts["sent"] = 0
for number in range(10):
    producer.produce(topic, f"secret-{number}", key="secret-key", partition=0, callback=delivered)
    producer.flush()
for number in range(30):
    producer.produce(topic, f"secret-{number}", partition=1, callback=delivered)
producer.flush()
producer.produce(topic, "secret", partition=0, headers={"traceparent": CONTEXT, "other": "secret"}, callback=delivered)
producer.flush()
producer.produce(topic, b"secret" * 30_000, partition=0, callback=delivered)
producer.flush()
assert counts["failed"] == 1, counts
while counts["received"] < 1 + counts["sent"]:
    message = consumer.poll(20)
    assert message is not None and message.error() is None, message
    counts["received"] += 1
    last = message
try:
    consumer.commit(message=last, asynchronous=False)
except KafkaException as error:
    raise SystemExit(f"commit: {error}")
print("sent", counts["sent"], flush=True)
print("received", counts["received"], flush=True)
print("done", flush=True)
sys.stdin.readline()
consumer.close()
