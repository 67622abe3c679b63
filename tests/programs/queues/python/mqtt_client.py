"""A client of MQTT 5 (Paho) at the port of its first argument, with topics below the second.

It says `ready`, and on a line of its standard input connects, publishes and consumes, says `sent N` and `received N`, and `done`.
"""

import sys
import threading

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

CONTEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
port, name = int(sys.argv[1]), sys.argv[2]
WANTED = 31
print("ready", flush=True)
sys.stdin.readline()

received, there, subscribed = 0, threading.Event(), threading.Event()


def hear(_client, _data, _message):
    global received
    received += 1
    if received == WANTED:
        there.set()


client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=f"{name}-1", protocol=mqtt.MQTTv5)
client.username_pw_set("user", "secret")
client.on_message = hear
client.on_subscribe = lambda *_: subscribed.set()
client.connect("127.0.0.1", port)
client.loop_start()
client.subscribe(f"{name}/news", qos=2)
assert subscribed.wait(20)
sent = 0
for quality in (0, 1, 2):
    for _ in range(10):
        client.publish(f"{name}/news", b"secret", qos=quality).wait_for_publish(20)
        sent += 1
properties = Properties(PacketTypes.PUBLISH)
properties.UserProperty = [("other", "secret"), ("traceparent", CONTEXT)]
client.publish(f"{name}/news", b"secret", qos=1, properties=properties).wait_for_publish(20)
sent += 1
client.publish("forbidden", b"secret", qos=1).wait_for_publish(20)
assert there.wait(20)
# Its acknowledgement is on its way when a message is handed over.
done = threading.Event()
client.on_unsubscribe = lambda *_: done.set()
client.unsubscribe(f"{name}/news")
assert done.wait(20)
print("sent", sent, flush=True)
print("received", received, flush=True)
print("done", flush=True)
sys.stdin.readline()
