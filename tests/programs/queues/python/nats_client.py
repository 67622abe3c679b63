"""A client of NATS (nats-py) at the port of its first argument, with subjects below the second; over TLS where a third names a certificate.

It connects, says `ready`, and on a line of its standard input publishes, asks and consumes, says `sent N`, `asked N`, `stored N` and `received N`, and
`done`.
"""

import asyncio
import ssl
import sys

import nats
from nats.js.errors import NoStreamResponseError

CONTEXT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
port, name, *certificate = sys.argv[1:]
over = {"tls": ssl.create_default_context(cafile=certificate[0]), "tls_hostname": "localhost"} if certificate else {}


async def line():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)


async def main():
    sent = asked = stored = received = 0
    client = await nats.connect(f"nats://user:secret@127.0.0.1:{port}", **over)
    print("ready", flush=True)
    await line()
    all_there = asyncio.Event()

    async def hear(_message):
        nonlocal received
        received += 1
        if received == 31:
            all_there.set()

    async def answer(message):
        await message.respond(b"secret")

    await client.subscribe(f"{name}.news", queue="readers", cb=hear)
    await client.subscribe(f"{name}.time", cb=answer)
    for _ in range(30):
        await client.publish(f"{name}.news", b"secret")
        sent += 1
    await client.publish(f"{name}.news", b"secret", headers={"traceparent": CONTEXT, "other": "secret"})
    sent += 1
    await client.flush()
    await all_there.wait()
    for _ in range(5):
        await client.request(f"{name}.time", b"secret", timeout=10)
        asked += 1
    try:
        await client.request(f"{name}.nobody", b"secret", timeout=10)
        raise SystemExit("that should fail")
    except nats.errors.NoRespondersError:
        pass
    stream = client.jetstream()
    await stream.add_stream(name=name, subjects=[f"{name}.bills"])
    for _ in range(10):
        await stream.publish(f"{name}.bills", b"secret", timeout=10)
        stored += 1
    try:
        await stream.publish(f"{name}.lost", b"secret", timeout=10)
        raise SystemExit("that should fail")
    except NoStreamResponseError:
        pass
    consumer = await stream.pull_subscribe(f"{name}.bills", durable="payer")
    messages = await consumer.fetch(10, timeout=10)
    for number, message in enumerate(messages):
        if number == 9:
            await message.term()
        else:
            await message.ack()
    await client.flush()
    # One that is met with its first byte, and hardly ever answered.
    other = await nats.connect(f"nats://user:secret@127.0.0.1:{port}", **over)
    for _ in range(3 if certificate else 2000):
        await other.publish(f"{name}.late", b"secret" * 30)
    await other.drain()
    print("sent", sent, flush=True)
    print("asked", asked, flush=True)
    print("stored", stored, flush=True)
    print("received", received, flush=True)
    print("fetched", len(messages), flush=True)
    print("done", flush=True)
    await line()


asyncio.run(main())
