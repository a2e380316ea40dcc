"""Drives an MCP server with the official SDK, as it is told line by line: `client.py MODE SERVER ARGUMENT...`.

Each line of standard input is {"list": true} or {"call": NAME, "with": {...}}; each line of standard output is what came
of it. The SDK checks results against the schemas that the server declares. At the end of input the session is closed.
"""

import asyncio
import json
import os
import sys

from mcp import Client, MCPError, StdioServerParameters


async def main(mode, command, *arguments):
    server = StdioServerParameters(command=command, args=list(arguments), env=dict(os.environ), cwd=os.getcwd())
    async with Client(server, mode=mode, read_timeout_seconds=60) as client:
        about = client.server_info.model_dump(mode="json", exclude_none=True)
        tell({"server": about, "instructions": client.instructions, "protocol": client.protocol_version})
        while line := await asyncio.to_thread(sys.stdin.readline):
            order = json.loads(line)
            try:
                if "list" in order:
                    result = await client.list_tools()
                else:
                    result = await client.call_tool(order["call"], order["with"])
                tell(result.model_dump(mode="json", by_alias=True, exclude_none=True))
            except MCPError as fault:
                tell({"protocol_error": str(fault)})


def tell(what):
    print(json.dumps(what), flush=True)


asyncio.run(main(*sys.argv[1:]))
