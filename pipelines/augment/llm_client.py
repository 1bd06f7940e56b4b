"""Chat completions of an OpenAI-compatible server in our own network: cached by content, bounded, retried."""

import ipaddress
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx

from policies.canonical import canonical_json, keyed_digest
from policies.errors import LetheError

UNAVAILABLE = "augment.llm_unavailable"
_NO_ANSWER = "augment.no_answer"
_RETRY_AFTER_MAX = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LlmSettings:
    """Where the augmenting model is and how it is asked.

    Attributes:
        url: Address up to ``/v1``.
        model: Name of the model there.
        cache_dir: Replies are kept here until the run's files are deleted; they name the person.
        cache_key: Keys the names of the cache files: a plain digest could be confirmed by guessing.
        targets: What is being unlearned: addresses that serve it, each with the model's public name (None: all).
        judge_model: Model that checks the replies; the same one where it is None.
        judge: Whether replies are checked by a model, besides the leak check that always runs.
        api_key: Sent as a bearer token.
        allow_external: Lets the forgotten data leave for an address outside the own network. The report says so.
        concurrency: Requests at the same time.
        timeout_s: For one request.
        retries: Further tries of one request.
        backoff_s: Pause before the first retry; doubles.
        give_up_after: After so many requests have failed one after another, the rest of a batch is not sent.
        temperature: Of the sampling; the seed is derived from what is asked.
        max_tokens: Of one reply.
    """

    url: str
    model: str
    cache_dir: Path
    cache_key: bytes = field(repr=False)
    targets: tuple[tuple[str, str | None], ...] = ()
    judge_model: str | None = None
    judge: bool = True
    api_key: str | None = field(default=None, repr=False)
    allow_external: bool = False
    concurrency: int = 8
    timeout_s: float = 60.0
    retries: int = 3
    backoff_s: float = 0.5
    give_up_after: int = 8
    temperature: float = 0.7
    max_tokens: int = 200


@dataclass(frozen=True, slots=True)
class Chat:
    """One request: who answers, the two messages and the seed."""

    model: str
    system: str
    user: str
    seed: int
    temperature: float


@dataclass(frozen=True, slots=True)
class Reply:
    """A text, or the code of what went wrong."""

    text: str | None = None
    code: str | None = None


class LlmClient:
    """Asks for many replies at once.

    Raises:
        LetheError: ``augment.endpoint_is_target`` or ``augment.external_not_allowed``, before anything is sent.
    """

    def __init__(self, settings: LlmSettings) -> None:
        self._settings = settings
        refuse_target(settings)
        if not settings.allow_external:
            refuse_external(settings.url)
        settings.cache_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        headers = {"Authorization": f"Bearer {settings.api_key}"} if settings.api_key else {}
        # No proxy from the environment and no redirect: the data goes to the address that was checked, or nowhere.
        self._http = httpx.Client(timeout=settings.timeout_s, headers=headers, trust_env=False, follow_redirects=False)
        self._failures = 0
        self._lock = threading.Lock()
        self._known_models = False

    def close(self) -> None:
        """Drop the connections."""
        self._http.close()

    def ask(self, chats: Mapping[str, Chat]) -> dict[str, Reply]:
        """A reply for every key, in whatever order they came."""
        self._failures = 0
        found = {key: self._cached(chat) for key, chat in chats.items()}
        missing = [key for key, reply in found.items() if reply is None]
        if missing:
            self._refuse_alias()
        with ThreadPoolExecutor(max_workers=self._settings.concurrency) as pool:
            fresh = dict(zip(missing, pool.map(lambda key: self._fetch(chats[key]), missing), strict=True))
        return {key: reply or fresh[key] for key, reply in found.items()}

    def _fetch(self, chat: Chat) -> Reply:
        if self._failures >= self._settings.give_up_after:
            return Reply(code=UNAVAILABLE)
        reply = self._send(chat)
        with self._lock:
            self._failures = self._failures + 1 if reply.code == UNAVAILABLE else 0
        if reply.text is not None:
            self._store(chat, reply.text)
        return reply

    def _send(self, chat: Chat) -> Reply:
        for turn in range(self._settings.retries + 1):
            pause = self._settings.backoff_s * 2**turn
            try:
                response = self._http.post(f"{self._root()}/chat/completions", json=self._body(chat))
            except httpx.HTTPError:
                response = None
            if response is not None and response.status_code == httpx.codes.OK:
                return _read(response)
            if response is not None and response.status_code not in (408, 409, 425, 429) and response.status_code < 500:
                return Reply(code=UNAVAILABLE)  # a wrong key or an unknown model will not mend itself
            if turn < self._settings.retries:
                time.sleep(max(pause, _retry_after(response)))
        return Reply(code=UNAVAILABLE)

    def _refuse_alias(self) -> None:
        """A model that is served under another name still says what it stems from."""
        if self._known_models:
            return
        try:
            listed = self._http.get(f"{self._root()}/models")
            entries = listed.json()["data"] if listed.status_code == httpx.codes.OK else []
            stems = {
                str(entry.get(part)).casefold()
                for entry in entries
                if entry.get("id") == self._settings.model
                for part in ("root", "parent")
                if entry.get(part)
            }
        except (httpx.HTTPError, ValueError, KeyError, TypeError, AttributeError):
            return  # an outage shows itself in the requests; not every server lists its models
        self._known_models = True
        if stems & {model.casefold() for _, model in self._settings.targets if model}:
            raise _is_target()

    def _root(self) -> str:
        return self._settings.url.rstrip("/")

    def _body(self, chat: Chat) -> dict[str, Any]:
        return {
            "model": chat.model,
            "messages": [{"role": "system", "content": chat.system}, {"role": "user", "content": chat.user}],
            "temperature": chat.temperature,
            "max_tokens": self._settings.max_tokens,
            "seed": chat.seed,
        }

    def _file(self, chat: Chat) -> Path:
        content = canonical_json([self._root(), self._body(chat)])
        return self._settings.cache_dir / f"{keyed_digest(self._settings.cache_key, content)}.json"

    def _cached(self, chat: Chat) -> Reply | None:
        try:
            return Reply(text=str(json.loads(self._file(chat).read_text(encoding="utf-8"))["text"]))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def _store(self, chat: Chat, text: str) -> None:
        file = self._file(chat)
        draft = file.with_suffix(f".{threading.get_ident()}")
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as out:
            json.dump({"text": text}, out)
        draft.replace(file)


def refuse_target(settings: LlmSettings) -> None:
    """Never ask the model that is being unlearned: it would be taught by its own memory.

    Raises:
        LetheError: ``augment.endpoint_is_target``.
    """
    ours = {settings.model.casefold(), (settings.judge_model or settings.model).casefold()}
    for url, model in settings.targets:
        if (model is not None and model.casefold() in ours) or (model is None and _same_address(url, settings.url)):
            raise _is_target()


def refuse_external(url: str) -> None:
    """The address has to be on this machine or in a private network, by every address that its name resolves to.

    Raises:
        LetheError: ``augment.external_not_allowed``, or ``augment.llm_unavailable`` where the name is unknown.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise LetheError("augment.external_not_allowed", "the augmenting model needs an http or https address")
    addresses = _addresses(url)
    if not addresses:
        raise LetheError(UNAVAILABLE, "the name of the augmenting model's server cannot be resolved")
    if not all(_inside(address) for address in addresses):
        raise LetheError(
            "augment.external_not_allowed", "the augmenting model is outside the own network: the data would leave"
        )


def _inside(address: str) -> bool:
    parsed = ipaddress.ip_address(address)
    mapped = getattr(parsed, "ipv4_mapped", None)
    return (mapped or parsed).is_loopback or (mapped or parsed).is_private


def _addresses(url: str) -> set[str]:
    host = urlsplit(url).hostname or ""
    try:
        return {str(info[4][0]).partition("%")[0] for info in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _same_address(first: str, second: str) -> bool:
    one, two = urlsplit(first), urlsplit(second)
    ports = [part.port or (443 if part.scheme == "https" else 80) for part in (one, two)]
    same_host = (one.hostname or "").casefold() == (two.hostname or "").casefold()
    return ports[0] == ports[1] and (same_host or bool(_addresses(first) & _addresses(second)))


def _is_target() -> LetheError:
    return LetheError("augment.endpoint_is_target", "the augmenting model is the one that is being unlearned")


def _read(response: httpx.Response) -> Reply:
    try:
        text = response.json()["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError):
        return Reply(code=_NO_ANSWER)
    return Reply(text=text) if isinstance(text, str) and text.strip() else Reply(code=_NO_ANSWER)


def _retry_after(response: httpx.Response | None) -> float:
    try:
        return min(float(response.headers.get("retry-after", 0)), _RETRY_AFTER_MAX) if response is not None else 0.0
    except ValueError:
        return 0.0
