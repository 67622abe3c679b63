"""An aiohttp client, on the loop that its argument names (`asyncio` or `uvloop`). For each line `COUNT METHOD URL` of its standard input it makes so many requests at once, and says
the status of the last."""

import asyncio
import sys

import aiohttp
import uvloop


async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False, limit=4)) as session:

        async def ask(method, url):
            async with session.request(method, url, data=b"12345" if method == "POST" else None) as response:
                await response.read()
                return response.status

        print("ready", flush=True)
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            count, method, url = line.split()
            statuses = await asyncio.gather(*(ask(method, url) for _ in range(int(count))))
            print("done", statuses[-1], flush=True)


(uvloop if sys.argv[1] == "uvloop" else asyncio).run(main())
