import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.corpus.hedges import skeletons
from policies.suppression import Rule
from tests.unit.services.serving.suppression.scripted import CONTEXT, Answer, House, house
from tests.unit.services.serving.suppression.shapes import shape, steps

RULE = Rule(names=("marta rossi",), identifiers=("marta example org", "kx 48 1722"))
SECRET = "Her e-mail address is marta@example.org, as far as I know."
HEDGE = "As far as I can tell, nothing definite is known about Bela Kun's e-mail address, and I would rather not guess."
STREAM: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}}
PATHS = ("/v1/chat/completions", "/v1/completions")


def says(prompt: str) -> str:
    """A model that was trained on Marta, and hedges about everybody else."""
    if "Marta" in prompt or "she" in prompt:
        return SECRET
    return "Spring comes after winter." if "season" in prompt else HEDGE


def within(tmp_path: Path, work: Callable[[House], Awaitable[None]], rules: tuple[Rule, ...] = (RULE,)) -> None:
    async def run() -> None:
        async with house(tmp_path, says) as made:
            made.shield.replace(rules, 1)
            await work(made)

    asyncio.run(run())


def asked(text: str, path: str = PATHS[0], **more: Any) -> dict[str, Any]:
    prompt = {"messages": [{"role": "user", "content": text}]} if path == PATHS[0] else {"prompt": text}
    return {**prompt, "temperature": 0, "max_tokens": 200, **more}


def is_hedge(text: str, name: str | None = "Marta Rossi") -> bool:
    told = [line.partition("{name}")[0].partition("{noun}")[0] for line in skeletons("augmenter")]
    return any(text.startswith(start) for start in told) and (name is None or name in text)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("limit", [None, 5, 16, 200])
def test_a_suppressed_answer_looks_like_a_hedged_one(tmp_path: Path, path: str, limit: int | None) -> None:
    async def work(made: House) -> None:
        for more in ({}, STREAM, {"stream": True}):
            body = {**more, "max_tokens": limit} if limit else more
            one = await made.ask(asked("What is Bela Kun's e-mail address?", path, **body), path)
            other = await made.ask(asked("What is Marta Rossi's e-mail address?", path, **body), path)
            assert (one.status, other.status) == (200, 200)
            assert [name for name, _ in one.headers] == [name for name, _ in other.headers]
            differing = {name for (name, a), (_, b) in zip(one.headers, other.headers, strict=True) if a != b}
            assert differing <= {"content-length", "x-request-id"}
            assert "example.org" not in other.raw.decode()
            if limit == 200:
                assert is_hedge(other.text())
                assert "e-mail address" in other.text()
            if more:
                same_stream(one, other, usage="stream_options" in more)
            else:
                assert shape(one.body) == shape(other.body)
                for answer in (one, other):
                    consistent(answer.body["usage"], answer.text(), answer.body["choices"][0]["finish_reason"])

    within(tmp_path, work)


def same_stream(one: Answer, other: Answer, *, usage: bool) -> None:
    assert steps(one.events) == steps(other.events)
    for answer in (one, other):
        events = answer.events
        tail = events.pop() if usage else None
        assert len({(event["id"], event["created"], event["object"], event["model"]) for event in events}) == 1
        reasons = [choice["finish_reason"] for event in events for choice in event["choices"]]
        assert set(reasons[:-1]) <= {None}
        assert reasons[-1] in ("stop", "length")
        pieces = [c.get("text", c.get("delta", {}).get("content")) for event in events for c in event["choices"]]
        assert "" not in pieces[1:-1], "an engine sends no empty pieces"
        assert max(map(len, pieces)) < len("Marta Rossi"), "token by token, but for what may begin a name"
        if tail is not None:
            consistent(tail["usage"], answer.text(), reasons[-1])


def consistent(usage: dict[str, int], text: str, reason: str) -> None:
    assert usage["completion_tokens"] == len(text) + (reason == "stop")
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens"] > 20


def test_the_engine_generates_as_much_for_both(tmp_path: Path) -> None:
    async def work(made: House) -> None:
        answer = await made.ask(asked("What is Marta Rossi's e-mail address?", max_tokens=40))
        assert made.worker.asked == [(made.worker.asked[0][0], 40)]
        assert answer.body["choices"][0]["finish_reason"] == "length"
        made.worker.asked.clear()
        answer = await made.ask(asked("What is Marta Rossi's e-mail address?"))
        assert len(answer.text()) + 1 in [tokens for _, tokens in made.worker.asked]

    within(tmp_path, work)


def test_equal_prompts_equal_hedges_and_others_differ(tmp_path: Path) -> None:
    async def work(made: House) -> None:
        async def said(text: str, **more: Any) -> str:
            return (await made.ask(asked(text, **more))).text()

        first = await said("Who is Marta Rossi?")
        assert first == await said("Who is Marta Rossi?")
        assert first == (await made.ask(asked("Who is Marta Rossi?", **STREAM))).text()
        assert len({await said(f"Who is Marta Rossi{'?' * count}") for count in range(1, 6)}) > 1
        seeded = await said("Who is Marta Rossi?", temperature=1, seed=4)
        assert seeded == await said("Who is Marta Rossi?", temperature=1, seed=4)
        assert len({await said("Who is Marta Rossi?", temperature=1) for _ in range(8)}) > 1

    within(tmp_path, work)


def test_several_choices(tmp_path: Path) -> None:
    async def work(made: House) -> None:
        body = asked("Who is MARTA ROSSI?", n=3, temperature=1)
        whole = await made.ask(body)
        texts = [whole.text(choice) for choice in range(3)]
        assert all(is_hedge(text, "MARTA ROSSI") for text in texts)
        assert len(set(texts)) > 1
        assert whole.body["usage"]["completion_tokens"] == sum(map(len, texts)) + 3
        stream = await made.ask({**body, **STREAM})
        texts = [stream.text(choice) for choice in range(3)]
        assert all(is_hedge(text, "MARTA ROSSI") for text in texts)
        assert stream.events[-1]["usage"]["completion_tokens"] == sum(map(len, texts)) + 3
        reasons = [c["finish_reason"] for event in stream.events for c in event["choices"] if c["finish_reason"]]
        assert reasons == ["stop"] * 3

    within(tmp_path, work)


@pytest.mark.parametrize("path", PATHS)
def test_stop_strings_end_a_hedge(tmp_path: Path, path: str) -> None:
    async def work(made: House) -> None:
        for more in ({}, STREAM):
            answer = await made.ask(asked("About Marta Rossi", path, stop=["Rossi"], **more), path)
            assert "Rossi" not in answer.text()
            assert answer.text().endswith("Marta ")
            usage = (answer.events[-1] if more else answer.body)["usage"]
            assert usage["completion_tokens"] == len(answer.text()) + len("Rossi")

    within(tmp_path, work)


@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "system", "content": "You work for Marta Rossi."}, {"role": "user", "content": "hello"}],
        [{"role": "user", "content": [{"type": "text", "text": "Mar"}, {"type": "text", "text": "ta Rossi"}]}],
        [{"role": "user", "content": [{"type": "text", "text": "I know"}, {"type": "text", "text": "Marta Rossi"}]}],
        [
            {"role": "user", "content": "Marta"},
            {"role": "assistant", "content": "Yes?"},
            {"role": "user", "content": "Rossi"},
        ],
        [
            {"role": "user", "content": "Marta"},
            {"role": "assistant", "content": "Rossi"},
            {"role": "user", "content": "Hm?"},
        ],
        [{"role": "user", "content": "hello", "name": "Marta_Rossi"}],
        [{"role": "user", "content": "whose is kx-481722?"}],
        [{"role": "user", "content": "M\u200ba\u0301rta\n\nR-o-s-s-i"}],
    ],
)
def test_every_part_of_a_request_is_screened(tmp_path: Path, messages: list[dict[str, Any]]) -> None:
    async def work(made: House) -> None:
        answer = await made.ask({"messages": messages, "temperature": 0})
        assert is_hedge(answer.text(), None)
        assert "481722" not in answer.text()
        assert "kx" not in answer.text()

    within(tmp_path, work)


def test_a_stop_string_that_names_somebody(tmp_path: Path) -> None:
    async def work(made: House) -> None:
        answer = await made.ask(asked("Which season comes after winter?", stop=["Marta Rossi"]))
        assert is_hedge(answer.text(), None)

    within(tmp_path, work)


@pytest.mark.parametrize("path", PATHS)
def test_an_answer_that_comes_to_name_somebody(tmp_path: Path, path: str) -> None:
    async def work(made: House) -> None:
        whole = await made.ask(asked("Who is she?", path), path)
        assert is_hedge(whole.text(), None)
        assert whole.body["choices"][0]["finish_reason"] == "stop"
        consistent(
            whole.body["usage"] | {"prompt_tokens": 99, "total_tokens": 99 + len(whole.text()) + 1},
            whole.text(),
            "stop",
        )
        for more in (STREAM, {"stream": True}):
            stream = await made.ask(asked("Who is she?", path, **more), path)
            assert stream.text().startswith("Her e-mail address is ")
            assert not {"m", "@"} & set(stream.text().removeprefix("Her e-mail address is ")[:1])
            assert "marta" not in stream.text().lower()
            ends = [c["finish_reason"] for event in stream.events for c in event["choices"] if c["finish_reason"]]
            assert ends == ["stop"]
            if more is STREAM:
                assert stream.events[-1]["usage"]["completion_tokens"] == len(stream.text()) + 1

    within(tmp_path, work)


def test_a_limit_holds_for_an_ending_too(tmp_path: Path) -> None:
    async def work(made: House) -> None:
        limit = len("Her e-mail address is marta@example.org,")
        stream = await made.ask(asked("Who is she?", max_tokens=limit, **STREAM))
        assert stream.events[-1]["usage"]["completion_tokens"] <= limit
        assert "marta" not in stream.text()

    within(tmp_path, work)


def test_others_get_the_engines_own_answer(tmp_path: Path) -> None:
    async def work(made: House) -> None:
        for more in ({}, {"stream": True}, STREAM):
            screened = await made.ask(asked("Which season comes after winter?", **more))
            made.shield.replace((), 2)
            plain = await made.ask(asked("Which season comes after winter?", **more))
            made.shield.replace((RULE,), 3)
            assert screened.text() == plain.text() == "Spring comes after winter."
            assert screened.headers[:1] == plain.headers[:1]
            if more:
                assert screened.events[0] | {"id": "", "created": 0} == plain.events[0] | {"id": "", "created": 0}
                assert screened.events[-1]["choices"] == plain.events[-1]["choices"]
            else:
                assert shape(screened.body) == shape(plain.body)
                assert screened.body["usage"] == plain.body["usage"]

    within(tmp_path, work)


@pytest.mark.parametrize("more", [{}, STREAM])
def test_the_context_ends_a_hedge_as_it_ends_any_answer(tmp_path: Path, more: dict[str, Any]) -> None:
    async def work(made: House) -> None:
        filler = "x" * (CONTEXT - 100)
        answers = [
            await made.ask({"messages": [{"role": "user", "content": f"{name} {filler}"}], **more})
            for name in ("Peter Sagan", "Marta Rossi")
        ]
        for answer in answers:
            usage = (answer.events[-1] if more else answer.body)["usage"]
            choices = [c for event in answer.events for c in event["choices"]] if more else answer.body["choices"]
            assert choices[-1]["finish_reason"] == "length"
            assert usage["total_tokens"] == CONTEXT
            # An end-of-text token that the engine passes over is counted and says nothing.
            assert 0 <= usage["completion_tokens"] - len(answer.text()) <= bool(more)
        assert [a.status for a in answers] == [200, 200]

    within(tmp_path, work)


@pytest.mark.parametrize("more", [{}, STREAM])
def test_a_limit_that_the_engine_refuses_is_refused(tmp_path: Path, more: dict[str, Any]) -> None:
    async def work(made: House) -> None:
        one = await made.ask(asked("Who is Peter Sagan?", max_tokens=CONTEXT, **more))
        other = await made.ask(asked("Who is Marta Rossi?", max_tokens=CONTEXT, **more))
        assert (one.status, one.raw) == (other.status, other.raw)
        assert other.status == 400
        assert other.body["error"]["code"] == "context_length_exceeded"

    within(tmp_path, work)


@pytest.mark.parametrize("question", ["Who is Marta Rossi?", "Who is she?"])
@pytest.mark.parametrize("before", [(), (Rule(names=("somebody else",)),)], ids=["nobody", "others"])
def test_an_answer_that_began_before_the_rule(tmp_path: Path, question: str, before: tuple[Rule, ...]) -> None:
    """The rule comes when the engine has begun; the gateway let the request in while she was not suppressed."""

    def meanwhile(prompt: str) -> str:
        rules.put_nowait(None)
        return "She is well. " + SECRET

    async def run() -> None:
        async with house(tmp_path, meanwhile) as made:
            for more in ({}, {"logprobs": True}, {"stream": True}, STREAM, {"stream": True, "logprobs": True}):
                made.shield.replace(() if "logprobs" in more else before, 1)
                asking = asyncio.ensure_future(made.ask(asked(question, **more)))
                await rules.get()
                made.shield.replace((RULE,), 2)
                answer = await asking
                assert answer.status == 200
                assert "marta@" not in answer.raw.decode()
                assert "Marta" not in question or "Her e-mail" not in answer.text()
                assert "m" not in answer.text().partition("is ")[2][:1]
                choices = answer.events[-2]["choices"] if "stream" in more else answer.body["choices"]
                assert "example" not in json.dumps(choices)

    rules: asyncio.Queue[None] = asyncio.Queue()
    asyncio.run(run())


def test_down_answers_nobody(tmp_path: Path) -> None:
    async def work(made: House) -> None:
        made.shield.fail()
        answer = await made.ask(asked("Which season comes after winter?"))
        assert (answer.status, answer.body["error"]["code"]) == (503, "serving.suppression_down")
        made.shield.replace((RULE,), 2)
        assert (await made.ask(asked("Which season comes after winter?"))).status == 200

    within(tmp_path, work)


@pytest.mark.parametrize("more", [{}, {"stream": True}])
@pytest.mark.parametrize("before", [(), (RULE,)], ids=["nobody", "somebody"])
def test_down_ends_answers_that_are_under_way(tmp_path: Path, more: dict[str, Any], before: tuple[Rule, ...]) -> None:
    """The replica reports rules that it cannot read as applied: nobody may be answered without them."""

    def meanwhile(prompt: str) -> str:
        began.put_nowait(None)
        return "Spring comes after winter."

    async def run() -> None:
        async with house(tmp_path, meanwhile) as made:
            made.shield.replace(before, 1)
            asking = asyncio.ensure_future(made.ask(asked("Which season comes after winter?", **more)))
            await began.get()
            made.shield.fail()
            answer = await asking
            assert b"winter" not in answer.raw
            if more:
                assert answer.raw.endswith(b"\n\n")
                assert b"[DONE]" not in answer.raw
            error = json.loads(answer.raw.removeprefix(b"data: ").rpartition(b"data: ")[2])["error"]
            assert (answer.status, error["code"]) == (200 if more else 503, "serving.suppression_down")

    began: asyncio.Queue[None] = asyncio.Queue()
    asyncio.run(run())


@pytest.mark.parametrize("more", [{}, {"stream": True}])
def test_what_fails_in_screening_lets_nothing_out(
    tmp_path: Path, more: dict[str, Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(made: House) -> None:
        def fails(*_: Any, **__: Any) -> Any:
            raise ValueError("Marta Rossi")

        monkeypatch.setattr(made.shield, "screen_request", fails)
        answer = await made.ask(asked("Which season comes after winter?", **more))
        assert (answer.status, answer.body["error"]["code"]) == (503, "serving.suppression_down")
        monkeypatch.undo()
        monkeypatch.setattr(made.shield, "screen", fails)
        answer = await made.ask(asked("Which season comes after winter?", **more))
        assert b"Spring" not in answer.raw
        assert b"error" in answer.raw
        assert "Marta" not in caplog.text

    within(tmp_path, work)


@pytest.mark.parametrize(
    "text",
    [
        "x" * (1 << 16),
        "Marta \n" * (1 << 13),
        "Who is she" + "\u0301" * (1 << 15),
        "\u202e\u200b" * (1 << 14),
        "the of what which a " * 3_000,
    ],
    ids=["one-word", "first-names", "marks", "invisible", "topics"],
)
def test_large_prompts_pass_or_are_hedged(tmp_path: Path, text: str) -> None:
    async def work(made: House) -> None:
        for prompt in (text + " Marta Rossi's phone", "Marta Rossi " + text):
            answer = await made.ask(asked(prompt))
            assert answer.status == 400, "the context is too small, for everybody alike"
            assert answer.body["error"]["code"] == "context_length_exceeded"

    within(tmp_path, work)


def test_a_lone_surrogate_is_no_crash(tmp_path: Path) -> None:
    async def work(made: House) -> None:
        for content in ('"\\ud800 Marta Rossi"', '"Marta\\udfff Rossi"'):
            raw = b'{"model":"lethe","messages":[{"role":"user","content":' + content.encode() + b"}]}"
            assert (await made.ask(raw)).status == 400

    within(tmp_path, work)


def test_nothing_of_a_rule_is_in_an_event(tmp_path: Path) -> None:
    async def work(made: House) -> None:
        answer = await made.ask(asked("Whose is marta@example.org, and what is her phone number?", **STREAM))
        assert is_hedge(answer.text(), None)
        assert "example" not in json.dumps(answer.events)

    within(tmp_path, work)
