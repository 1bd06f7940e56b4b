"""A synthetic source of chunks in the place of an engine: no model, one event after another as fast as asked for.

It shows what the gateway costs where no engine shares the processor. No figure of it stands for a real engine.
"""

import argparse
import asyncio
import json
import os
import sys
import threading
from typing import Any

from aiohttp import web

_loaded: dict[str, str] = {}


async def version(_: web.Request) -> web.Response:
    return web.json_response({"engine": "stub", "version": "0"})


async def health(_: web.Request) -> web.Response:
    return web.Response()


async def models(_: web.Request) -> web.Response:
    return web.json_response({"data": [{"id": name, "root": path, "parent": "base"} for name, path in _loaded.items()]})


async def load(request: web.Request) -> web.Response:
    body = await request.json()
    _loaded[body["lora_name"]] = body["lora_path"]
    return web.Response()


async def unload(request: web.Request) -> web.Response:
    _loaded.pop((await request.json())["lora_name"], None)
    return web.Response()


async def chat(request: web.Request) -> web.StreamResponse:
    body = await request.json()
    head = {"id": "chatcmpl-stub", "created": 0, "model": body["model"]}
    count = body.get("max_tokens") or 16
    usage = {"prompt_tokens": 3, "completion_tokens": count, "total_tokens": count + 3}
    if not body.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": "alpha"}, "finish_reason": "length"}
        return web.json_response({**head, "object": "chat.completion", "choices": [choice], "usage": usage})
    response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
    await response.prepare(request)
    for number in range(count):
        ended = "length" if number == count - 1 else None
        choice = {"index": 0, "delta": {"content": " alpha"}, "finish_reason": ended}
        await response.write(_event({**head, "object": "chat.completion.chunk", "choices": [choice]}))
        await asyncio.sleep(float(os.environ.get("STUB_PAUSE_S", "0")))  # others get their turn
    if (body.get("stream_options") or {}).get("include_usage"):
        await response.write(_event({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage}))
    await response.write(b"data: [DONE]\n\n")
    return response


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _end_with_stdin() -> None:
    while sys.stdin.buffer.read(4096):
        continue
    os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--socket", required=True)
    args, _ = parser.parse_known_args()
    threading.Thread(target=_end_with_stdin, daemon=True).start()
    app = web.Application(client_max_size=8 << 20)
    app.add_routes(
        [
            web.get("/health", health),
            web.get("/version", version),
            web.get("/v1/models", models),
            web.post("/v1/load_lora_adapter", load),
            web.post("/v1/unload_lora_adapter", unload),
            web.post("/v1/chat/completions", chat),
        ]
    )
    web.run_app(app, path=args.socket, print=lambda *_: None, access_log=None)


if __name__ == "__main__":
    main()
