"""A mail server that keeps nothing and refuses some. Usage: PORT. Says how many commands it was given, by name."""

import asyncio
import collections
import sys

from aiosmtpd.smtp import SMTP

counts = collections.Counter()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody"):
            return "550 5.1.1 secret"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        return "554 5.7.1 secret" if b"spam" in envelope.content else "250 OK"


def counted(name):
    inner = getattr(SMTP, f"smtp_{name}")

    async def command(self, argument):
        counts[name] += 1
        return await inner(self, argument)

    # aiosmtpd takes the words of its help from the function.
    command.__dict__.update(inner.__dict__)
    command.__doc__ = inner.__doc__
    return command


class Counted(SMTP):
    for name in ("HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT"):
        locals()[f"smtp_{name}"] = counted(name)


async def main():
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Counted(Handler(), hostname="mail.shop"), "127.0.0.1", int(sys.argv[1]))
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    print("counted " + " ".join(f"{name}={count}" for name, count in sorted(counts.items())), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)


asyncio.run(main())
