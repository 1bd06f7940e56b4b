"""What suppression hits and what it costs.

    python -m benchmarks.suppression hits [--people 12000] [--suppress 12 1200 10000] [--json]
    python -m benchmarks.suppression cost [--subjects 10000] [--rounds 30] [--json]
    python -m benchmarks.suppression matcher [--subjects 10000] [--json]

*hits*: rules of invented people are made as the service makes them (``rule_of_request``, then ``widen`` over the forget
set, asked of the subject index), and every text of the corpus is looked up: other people's and generic questions and
answers that are hit, and the subjects' own.

*cost*: the real gateway in this process, the real embedded engine in another, each on a core of its own; two gateways
before the same engine, one with so many subjects suppressed and one with nobody, take turns. Throughput is chunks a
second; CPU is that of this process, clients included, so the difference is what screening costs.

*matcher*: the trie against the failure automaton of the same library and against ahocorasick_rs where it is installed.
Times are CPU of the thread, so that other load matters little; gaps are on the clock, and grow with it.
"""

import argparse
import asyncio
import importlib
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks import machine
from pipelines.corpus.generate import generate
from pipelines.corpus.generic import GENERIC
from pipelines.corpus.index import SubjectIndex
from pipelines.corpus.indexing import build_index
from pipelines.corpus.load import load_corpus
from policies.record import Record
from policies.suppression import Rule, rule_of_request, widen
from policies.ticket import Identifier, TicketRequest
from services.serving.suppression.folding import words
from services.serving.suppression.matcher import Matcher, patterns_of
from services.serving.suppression.shield import Shield
from services.serving.suppression.stream import StreamScreen
from services.store.types import utc_now

KEY = b"benchmark of suppression: no key"
PIECE = 4  # letters of a piece of a stream, about a token
Person = dict[str, Any]


# -- hits ------------------------------------------------------------------------------------------------------------


def request_of(person: Person) -> TicketRequest:
    """The request of an invented person who says everything."""
    kinds = (("name", "names"), ("email", "emails"), ("phone", "phones"), ("id", "ids"), ("address", "addresses"))
    given = [Identifier.model_validate({"kind": kind, "value": value}) for kind, key in kinds for value in person[key]]
    return TicketRequest(external_id="t", regime="gdpr", base="b", subject=tuple(given), received_at=utc_now())


def rules_of(people: Sequence[Person], own: dict[str, list[Record]], index: SubjectIndex, wide: int) -> list[Rule]:
    """The rules of some people; the first ``wide`` of them widened over their private records."""
    rules = []
    for number, person in enumerate(people):
        rule = rule_of_request(request_of(person))
        if number < wide:
            records = [record for record in own[person["person"]] if (record.category or "").startswith("private")]
            elsewhere = partial(index.said_outside, record_ids=[record.record_id for record in records])
            rule = widen(rule, records, person["names"], elsewhere)
        rules.append(rule)
    return rules


def owners(directory: Path) -> dict[str, tuple[str, ...]]:
    """Whom a record is about, from the truth that only benchmarks read."""
    with (directory / "truth.jsonl").open(encoding="utf-8") as lines:
        return {row["record"]: tuple(row["people"]) for row in map(json.loads, lines)}


def hits(arguments: argparse.Namespace) -> dict[str, Any]:
    """False positives and recall, for every number of suppressed people."""
    with tempfile.TemporaryDirectory() as made:
        directory = Path(made)
        generate(directory / "corpus", people=arguments.people, seed=5, phrasings=1, probe_people=1)
        corpus = load_corpus(directory / "corpus")
        index = build_index(corpus, directory / "index.sqlite")
        people = [json.loads(line) for line in (directory / "corpus" / "people.jsonl").open(encoding="utf-8")]
        about = owners(directory / "corpus")
        own: dict[str, list[Record]] = {}
        nobody: list[Record] = []
        for record in corpus:
            for person in about.get(record.record_id, ()):
                own.setdefault(person, []).append(record)
            if record.record_id not in about:
                nobody.append(record)
        rows = []
        for count in arguments.suppress:
            rules = rules_of(people[:count], own, index, arguments.widened)
            rows.append(_counted(rules, people, count, own, about, nobody, arguments.widened))
        index.close()
    return {"people": arguments.people, "widened": arguments.widened, "rows": rows}


def _counted(
    rules: list[Rule],
    people: list[Person],
    count: int,
    own: dict[str, list[Record]],
    about: dict[str, tuple[str, ...]],
    nobody: list[Record],
    widened: int,
) -> dict[str, Any]:
    matcher = Matcher(rules)
    suppressed = {person["person"] for person in people[:count]}
    rng = random.Random(1)
    strangers = [person["person"] for person in people[count:]]
    theirs = [
        record
        for person in rng.sample(strangers, min(1000, len(strangers)))
        for record in own[person]
        if suppressed.isdisjoint(about[record.record_id])
    ]
    chosen = rng.sample(people[: min(count, widened)], min(300, count, widened))
    mine = [record for person in chosen for record in own[person["person"]] if len(about[record.record_id]) == 1]
    generic = [Record(record_id=str(at), question=q, answer=a) for at, (q, a) in enumerate(GENERIC)]
    hedges = [record for record in nobody if record.category == "hedge" or record.question is None]
    private = [record for record in mine if (record.category or "").startswith("private") and record.value]

    def share(records: Iterable[Record], text: Callable[[Record], str | None]) -> dict[str, float]:
        texts = [said for record in records if (said := text(record))]
        found = sum(map(matcher.search, texts))
        return {"texts": len(texts), "hit": found, "share": round(found / max(len(texts), 1), 6)}

    return {
        "suppressed": count,
        "patterns": len(matcher),
        "generic": share(generic, lambda record: record.text),
        "hedges_of_strangers": share(hedges, lambda record: record.text),
        "others_questions": share(theirs, lambda record: record.question),
        "others_answers": share(theirs, lambda record: record.answer),
        "own_questions": share(mine, lambda record: record.question),
        "own_answers": share(private, lambda record: record.answer),
        "own_values_alone": share(private, lambda record: record.value),
    }


# -- matcher ---------------------------------------------------------------------------------------------------------


def invented_rules(count: int, seed: int = 1) -> list[Rule]:
    """Rules of the size that the service makes: names, three identifiers, ten runs of words."""
    rng = random.Random(seed)
    parts = [first + second for first in "bcdfghjklmnprstvw" for second in "aeiou"]

    def word(most: int = 3) -> str:
        return "".join(rng.choice(parts) for _ in range(rng.randint(2, most)))

    def rule() -> Rule:
        first, last = word(), word(4)
        return Rule(
            names=(f"{first} {last}", f"{last} {first}"),
            identifiers=(
                f"{first} {last} example org",
                f"44 {rng.randrange(10**10)}",
                f"kx {rng.randrange(10**6)}",
            ),
            phrases=tuple(" ".join(word() for _ in range(5)) for _ in range(10)),
        )

    return [rule() for _ in range(count)]


class Gaps:
    """The longest time for which another thread could not run: what an event loop would have stood still."""

    def __enter__(self) -> "Gaps":
        self.longest, self._done = 0.0, False
        self._thread = threading.Thread(target=self._tick)
        self._thread.start()
        time.sleep(0.01)
        self.longest = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        self._done = True
        self._thread.join()

    def _tick(self) -> None:
        last = time.perf_counter()
        while not self._done:
            time.sleep(0.0005)
            now = time.perf_counter()
            self.longest, last = max(self.longest, now - last), now


def matcher(arguments: argparse.Namespace) -> dict[str, Any]:
    """Build, memory, the time others stand still, and the time of a search, of each way to match."""
    rules = invented_rules(arguments.subjects)
    patterns = sorted({letters for rule in rules for letters, _, _ in patterns_of(rule)})
    text = prose(1 << 19)
    letters = "".join(words(text))
    found: dict[str, Any] = {"subjects": len(rules), "patterns": len(patterns)}
    before = resident()
    with Gaps() as gaps:
        began = time.thread_time()
        ours = Matcher(rules)
        found["trie"] = {"build_cpu_s": time.thread_time() - began, "gap_ms": 1000 * gaps.longest}
    found["trie"]["memory_mib"] = (resident() - before) / 2**20
    found["trie"]["search_ns_per_letter"] = per_letter(lambda: ours.search(text), len(letters))
    with Gaps() as gaps:
        began = time.thread_time()
        ours.update([*rules, Rule(names=("one more person",))])
        found["trie"]["one_more_cpu_ms"] = 1000 * (time.thread_time() - began)
        found["trie"]["one_more_gap_ms"] = 1000 * gaps.longest
    found["stream_us_per_piece"] = streamed(ours, text)
    found["stream_us_per_piece_of_nobody"] = streamed(Matcher(), text)
    found["automaton"] = automaton(patterns, letters)
    found["ahocorasick_rs"] = rust(patterns, letters)
    return found


def automaton(patterns: Sequence[str], letters: str) -> dict[str, float]:
    """The same library with its failure links."""
    import ahocorasick

    with Gaps() as gaps:
        began = time.thread_time()
        built = ahocorasick.Automaton(ahocorasick.STORE_LENGTH)
        for pattern in patterns:
            built.add_word(pattern)
        built.make_automaton()
        seconds = time.thread_time() - began
    search = per_letter(lambda: sum(1 for _ in built.iter(letters)), len(letters))
    return {"build_cpu_s": seconds, "gap_ms": 1000 * gaps.longest, "search_ns_per_letter": search}


def rust(patterns: Sequence[str], letters: str) -> dict[str, float] | None:
    """The other library, which is no dependency."""
    try:
        library: Any = importlib.import_module("ahocorasick_rs")
    except ImportError:
        return None
    with Gaps() as gaps:
        began = time.thread_time()
        built = library.AhoCorasick(patterns)
        seconds = time.thread_time() - began
    search = per_letter(lambda: len(built.find_matches_as_indexes(letters, overlapping=True)), len(letters))
    return {"build_cpu_s": seconds, "gap_ms": 1000 * gaps.longest, "search_ns_per_letter": search}


def prose(size: int) -> str:
    """English about nobody."""
    rng = random.Random(2)
    lines = [answer for _, answer in GENERIC]
    parts: list[str] = []
    while sum(map(len, parts)) < size:
        parts += rng.sample(lines, len(lines))
    return " ".join(parts)


def streamed(matcher: Matcher, text: str) -> float:
    """Microseconds of a piece of a stream."""
    text = text[: 1 << 17]
    pieces = [text[at : at + PIECE] for at in range(0, len(text), PIECE)]
    times = []
    for _ in range(5):
        screen = StreamScreen(matcher)
        began = time.thread_time()
        out = [screen.push(piece) for piece in pieces]
        times.append(time.thread_time() - began)
        assert "".join(out) + screen.finish() == text
    return 1e6 * min(times) / len(pieces)


def per_letter(work: Callable[[], Any], letters: int) -> float:
    """Nanoseconds, the best of three."""
    times = []
    for _ in range(3):
        began = time.thread_time()
        work()
        times.append(time.thread_time() - began)
    return 1e9 * min(times) / letters


def resident() -> int:
    """Bytes of memory that this process has now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


# -- cost ------------------------------------------------------------------------------------------------------------


@contextmanager
def engine(directory: Path) -> Iterator[Path]:
    """The embedded engine with the tiny base, in a process of its own; gives its socket."""
    from tests.tiny_model import make_tiny_base

    base = make_tiny_base(directory / "base")
    path = directory / "engine.sock"
    command = [sys.executable, "-m", "services.serving.engine", "--base", str(base), "--socket", str(path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    with (directory / "engine.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
    try:
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) > 1:  # what the gateway uses is then not taken from the engine
            machine.pin([process.pid], cores[:1])
            machine.pin([os.getpid()], cores[1:2])
        yield path
    finally:
        process.kill()
        process.wait()


class Client:
    """A client of a gateway in this process; counts the chunks that come."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway
        self.chunks = 0

    async def stream(self, until: float, tokens: int) -> None:
        from services.auth import IDENTITY, Identity

        content = "hello who are you ?"
        body = {"model": "lethe", "messages": [{"role": "user", "content": content}], "stream": True}
        raw = json.dumps({**body, "max_tokens": tokens, "temperature": 0}).encode()
        scope = {"type": "http", "path": "/v1/chat/completions", "method": "POST"}
        identity = Identity(key_id="k", scopes=frozenset({"infer"}))
        while time.perf_counter() < until:
            headers = [(b"content-type", b"application/json")]
            asked = iter([{"type": "http.request", "body": raw, "more_body": False}])

            async def receive(asked: Iterator[dict[str, Any]] = asked) -> dict[str, Any]:
                message = next(asked, None)
                if message is None:
                    await asyncio.Event().wait()
                    raise AssertionError
                return message

            await self._gateway({**scope, "headers": headers, IDENTITY: identity}, receive, self._count)

    async def _count(self, message: Any) -> None:
        assert message.get("status", 200) == 200
        self.chunks += message.get("body", b"").count(b'"delta"')


async def taking_turns(arguments: argparse.Namespace, socket: Path, directory: Path) -> dict[str, Any]:
    """Rounds of both gateways in turn."""
    from services.serving.alias import Alias, Served
    from services.serving.engine_client import EngineClient
    from services.serving.gateway.app import Gateway
    from tests.tiny_model import make_word_adapter

    client, alias = EngineClient(socket), Alias()
    while not await client.healthy():
        await asyncio.sleep(0.2)
    name = "u-0123456789abcdef"
    await client.load(name, make_word_adapter(directory / "adapter", "beta"))
    alias.flip(Served(1, name, "d" * 64))
    ways: dict[str, Any] = {}
    for way, rules in (("nobody", []), ("suppressed", invented_rules(arguments.subjects))):
        shield = Shield(KEY, directory / "base")
        await asyncio.to_thread(shield.replace, rules, 1)
        ways[way] = Gateway()
        ways[way].attach(SimpleNamespace(alias=alias, ready=True, client=client), names=("lethe",), shield=shield)
    measured: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for turn in range(arguments.rounds + 1):
        for way in sorted(ways, reverse=turn % 2 == 1):
            one = await _round(ways[way], arguments)
            if turn:  # the first warms up
                measured[way].append(one)
    await client.close()
    return _compared(measured)


async def _round(gateway: Any, arguments: argparse.Namespace) -> tuple[float, float]:
    """Chunks a second, and microseconds of CPU a chunk."""
    clients = [Client(gateway) for _ in range(arguments.clients)]
    began, cpu = time.perf_counter(), time.process_time()
    until = began + arguments.seconds
    await asyncio.gather(*(client.stream(until, arguments.tokens) for client in clients))
    seconds, used = time.perf_counter() - began, time.process_time() - cpu
    chunks = sum(client.chunks for client in clients)
    return chunks / seconds, 1e6 * used / chunks


def _compared(measured: dict[str, list[tuple[float, float]]]) -> dict[str, Any]:
    ratios = [a[0] / b[0] for a, b in zip(measured["suppressed"], measured["nobody"], strict=True)]
    rng = random.Random(0)
    medians = sorted(statistics.median(rng.choices(ratios, k=len(ratios))) for _ in range(2000))
    rates = {way: round(statistics.median(rate for rate, _ in rounds)) for way, rounds in measured.items()}
    cpu = {way: round(statistics.median(used for _, used in rounds), 1) for way, rounds in measured.items()}
    return {
        "chunks_per_s": rates,
        "cpu_us_per_chunk": cpu,
        "throughput_ratio": round(statistics.median(ratios), 4),
        "throughput_ratio_95": [round(medians[50], 4), round(medians[-51], 4)],
    }


def cost(arguments: argparse.Namespace) -> dict[str, Any]:
    """Throughput and CPU with so many suppressed against nobody."""
    with tempfile.TemporaryDirectory() as made, engine(Path(made)) as socket:
        return {"subjects": arguments.subjects, **asyncio.run(taking_turns(arguments, socket, Path(made)))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["hits", "cost", "matcher"])
    parser.add_argument("--people", type=int, default=12_000, help="hits: people of the corpus")
    parser.add_argument("--suppress", type=int, nargs="+", default=[12, 1200, 10_000], help="hits: of them suppressed")
    parser.add_argument("--widened", type=int, default=10_000, help="hits: rules widened by the forget set")
    parser.add_argument("--subjects", type=int, default=10_000, help="cost, matcher: people suppressed")
    parser.add_argument("--rounds", type=int, default=30, help="cost: of both ways")
    parser.add_argument("--seconds", type=float, default=1.0, help="cost: of one round of one way")
    parser.add_argument("--clients", type=int, default=8, help="cost: streaming at the same time")
    parser.add_argument("--tokens", type=int, default=64, help="cost: of an answer")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    work = {"hits": hits, "cost": cost, "matcher": matcher}[arguments.what]
    told = machine.describe()
    found = work(arguments)
    if arguments.json:
        print(json.dumps({"machine": told, **found}, indent=2))
        return
    print(machine.in_words(told))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
