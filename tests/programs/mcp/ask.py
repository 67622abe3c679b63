"""Asks a server of the Model Context Protocol by the protocol's own library: ask.py http URL [TOKEN] or ask.py stdio COMMAND…

Reads lines of JSON (`[tool, arguments]`) from standard input, and prints a line of JSON for each: `[is_error, text]`. Before that it prints
the revision that is spoken, the server's name and the names of its tools.
"""

import asyncio
import json
import sys

import httpx2
from mcp import ClientSession
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client


def streams():
    if sys.argv[1] == "stdio":
        return stdio_client(StdioServerParameters(command=sys.argv[2], args=sys.argv[3:]))
    headers = {"Authorization": "Bearer " + sys.argv[3]} if len(sys.argv) > 3 else {}
    return streamable_http_client(sys.argv[2], http_client=httpx2.AsyncClient(headers=headers, timeout=20))


def say(what):
    print(json.dumps(what), flush=True)


async def main():
    async with streams() as (read, write, *_), ClientSession(read, write) as session:
        begun = await session.initialize()
        await session.send_ping()
        tools = await session.list_tools()
        say([begun.protocol_version, begun.server_info.name, [tool.name for tool in tools.tools]])
        while line := await asyncio.to_thread(sys.stdin.readline):
            tool, arguments = json.loads(line)
            result = await session.call_tool(tool, arguments)
            say([result.is_error, result.content[0].text])


asyncio.run(main())
