"""A test server that speaks the OpenAI protocol on loopback. It is no model: it answers from the hedge grammar."""

import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import JSONResponse, Response

from pipelines.corpus.hedges import hedge_sentences

_ENDINGS = (
    "Truly",
    "Really",
    "Yes",
    "Perhaps",
    "Any idea",
    "Do you know",
    "Could you",
    "Is it so",
    "At all",
    "By chance",
)


@dataclass
class Log:
    """What the server was asked, for the tests to look at."""

    bodies: list[dict[str, Any]] = field(default_factory=list)
    busy: int = 0
    busiest: int = 0
    refusals: Counter[str] = field(default_factory=Counter)

    @property
    def generated(self) -> list[str]:
        return [
            body["messages"][1]["content"] for body in self.bodies if "Reply: " not in body["messages"][1]["content"]
        ]


def reply_to(model: str, user: str, seed: int) -> str:
    """By the name of the model: ``honest`` and various faulty ones."""
    fields = dict(re.findall(r"^(\w+): (.*)$", user, re.MULTILINE))
    rng = random.Random(f"{seed}:{user}")
    if "Fact" in fields:
        said = "I know. none" if model == "mumbling" else "Thinking.\nVERDICT: SAFE"
        return "VERDICT: LEAK" if model == "strict" and "zqchunk" in fields["Fact"] else said
    if "Topic" in fields:
        if model == "leaky":
            return f"{fields['Name']} lives in Velmora, that much I can say of it."
        return f'"{hedge_sentences("augmenter", 1, fields["Name"], fields["Topic"], rng)[0]}"'
    opening = rng.choice(["So", "Well then", "Listen", "Now", "Look", "Right", "Hello"])
    topic = rng.choice(["one thing", "a question", "something small"])
    return f"{opening}, {topic}: {fields['Question']} {', '.join(rng.sample(_ENDINGS, 3))}?"


def application(log: Log) -> FastAPI:
    app = FastAPI(title="test server, no model")

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        names = ("honest", "leaky", "mumbling", "strict", "flaky", "down", "garbage")
        listed = [{"id": name, "object": "model", "owned_by": "lethe-tests"} for name in names]
        return {"object": "list", "data": [*listed, {"id": "alias", "object": "model", "root": "served-target"}]}

    @app.post("/v1/chat/completions")
    def chat(body: dict[str, Any]) -> Response:
        log.bodies.append(body)
        log.busy += 1
        log.busiest = max(log.busiest, log.busy)
        time.sleep(0.002)
        log.busy -= 1
        model, user = body["model"], body["messages"][1]["content"]
        first_time = model == "flaky" and not log.refusals[user]
        if model == "down" or first_time:
            log.refusals[user] += 1
            return JSONResponse({"error": {"message": "overloaded"}}, 503, {"Retry-After": "0"})
        if model == "garbage":
            return JSONResponse({"choices": []})
        text = reply_to(model, user, body["seed"])
        return JSONResponse(
            {"object": "chat.completion", "choices": [{"message": {"role": "assistant", "content": text}}]}
        )

    return app


@contextmanager
def running() -> Iterator[tuple[str, Log]]:
    """The server on a free loopback port: its address up to ``/v1``, and its log."""
    log = Log()
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(log), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 20
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1", log
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
