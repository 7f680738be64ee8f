"""A server that does nothing but answer and reply: what the load generator itself can do at most.

Run by the benchmark as a process of its own: `python -m tests.bench.null PORT API_PORT REPLY_FILE`.
"""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import uvloop

from tests.bench.wire import ClientSide, connect, response, serve

_TOKEN = re.compile(rb'"replyToken":"([^"]+)"')


async def _main(port: int, api_port: int, messages: bytes) -> None:
    idle: list[ClientSide] = [await connect(api_port) for _ in range(256)]
    ok = response(b"{}")
    tail = b'","messages":' + messages + b"}"

    def answer(path: bytes, body: bytes) -> bytes:
        found = _TOKEN.search(body)
        if found:
            client = idle.pop()
            sent = client.post(b"/v2/bot/message/reply", b"", b'{"replyToken":"' + found[1] + tail)
            sent.add_done_callback(lambda _: idle.append(client))
        return ok

    server = await serve(answer, port)
    async with server:
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]).read_bytes()))
