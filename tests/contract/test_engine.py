"""What every engine behind the gateway must do; run on the transformers engine and on a real vLLM."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai.types import Completion
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from policies.errors import LetheError
from services.serving.engine_client import EngineClient
from tests.contract.engine_process import EngineProcess, transformers_engine, vllm_engine
from tests.tiny_model import make_mixed_adapter, make_tiny_base, make_word_adapter
from tests.vllm_real import group_members

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning"),  # PEFT asks transformers
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("engine")
    make_tiny_base(root / "base")
    for word in ("alpha", "beta"):
        make_word_adapter(root / word, word)
    make_word_adapter(root / "weak", "alpha", strength=0.1)  # the base still speaks through it
    make_mixed_adapter(root / "mixed", 2)
    return root


@pytest.fixture(scope="module", params=["transformers", "vllm"])
def engine(request: pytest.FixtureRequest, files: Path) -> Iterator[EngineProcess]:
    with _started(request, files) as running:
        for word in ("alpha", "beta", "weak", "mixed"):
            assert load(running, files, f"u-{word}", word).status_code == 200
        yield running


@contextmanager
def _started(request: pytest.FixtureRequest, files: Path) -> Iterator[EngineProcess]:
    if request.param == "transformers":
        with transformers_engine(files / "base", files / "e.sock") as running:
            yield running
        return
    python, log = request.getfixturevalue("vllm_python"), files / "vllm.log"
    try:
        with vllm_engine(python, files / "base", files / "v.sock", releases=files, log=log) as running:
            yield running
    except AssertionError:
        print(log.read_text(errors="replace")[-8000:])
        raise
    deadline = time.monotonic() + 20  # a child sees its parent's end a moment later
    while group_members(running.process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert group_members(running.process.pid) == []


CHAT, PLAIN = "/v1/chat/completions", "/v1/completions"
HELLO: dict[str, Any] = {"messages": [{"role": "user", "content": "hello"}]}


def load(engine: EngineProcess, files: Path, name: str, word: str) -> httpx.Response:
    return engine.post("/v1/load_lora_adapter", lora_name=name, lora_path=str(files / word))


def said(response: httpx.Response) -> str:
    """The answer; vLLM keeps the space between prompt and answer, transformers does not."""
    choice = response.json()["choices"][0]
    text = choice["text"] if "text" in choice else choice["message"]["content"]
    return str(text).strip()


def events(engine: EngineProcess, path: str, **body: Any) -> list[dict[str, Any]]:
    with engine.client.stream("POST", path, json={**body, "stream": True}) as response:
        assert response.status_code == 200
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_each_adapter_answers_for_itself_and_usage_is_counted(engine: EngineProcess) -> None:
    for word in ("alpha", "beta"):
        response = engine.chat(f"u-{word}", max_tokens=5, temperature=0)
        body = response.json()
        assert said(response) == " ".join([word] * 5)
        assert body["choices"][0]["message"]["role"] == "assistant"
        assert body["choices"][0]["finish_reason"] == "length"
        assert body["usage"].items() >= {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}.items()
        assert body["object"] == "chat.completion"


def test_plain_completions(engine: EngineProcess) -> None:
    response = engine.post("/v1/completions", model="u-beta", prompt="hello you", max_tokens=2, temperature=0)
    assert said(response) == "beta beta"
    assert response.json()["usage"]["prompt_tokens"] == 2


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_streams_say_the_same_as_whole_answers(engine: EngineProcess, path: str) -> None:
    question = (
        {"prompt": "hello"} if path == "/v1/completions" else {"messages": [{"role": "user", "content": "hello"}]}
    )
    asked = {
        "model": "u-alpha",
        "max_tokens": 6,
        "temperature": 0,
        "stream_options": {"include_usage": True},
        **question,
    }
    whole = 6 + (path == CHAT) + 1  # a token each; one that opens a chat, one with the usage
    for _ in range(20):
        pieces = events(engine, path, **asked)
        if len(pieces) == whole:  # a starved vLLM puts several tokens into one event, now and then
            break
    *answer, usage = pieces
    if path == CHAT:
        opening, *answer = answer
        assert opening["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(c["text"] if "text" in c else c["delta"]["content"] for p in answer for c in p["choices"])
    assert text.strip() == " ".join(["alpha"] * 6)
    assert answer[-1]["choices"][0]["finish_reason"] == "length"
    assert len(answer) == 6
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 6


def test_a_stop_string_ends_the_answer_and_is_not_part_of_it(engine: EngineProcess) -> None:
    response = engine.chat("u-alpha", max_tokens=50, temperature=0, stop=["ha alpha al"])
    assert said(response) == "alp"
    assert response.json()["choices"][0]["finish_reason"] == "stop"


def test_a_seed_makes_sampling_repeatable(engine: EngineProcess) -> None:
    def sample(seed: int) -> str:
        return said(engine.chat("u-weak", max_tokens=12, temperature=1.5, top_p=0.95, seed=seed))

    assert sample(1) == sample(1)
    assert len({sample(seed) for seed in range(4)}) > 1


def question(path: str) -> dict[str, Any]:
    return HELLO if path == CHAT else {"prompt": "hello"}


@pytest.mark.parametrize("path", [CHAT, PLAIN])
def test_choices_of_one_request(engine: EngineProcess, path: str) -> None:
    asked = {"model": "u-weak", "max_tokens": 8, "temperature": 1.5, "seed": 1, "n": 4, **question(path)}
    body = engine.post(path, **asked).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    answers = [choice["text"] if path == PLAIN else choice["message"]["content"] for choice in body["choices"]]
    assert len(set(answers)) > 1
    assert body["usage"]["prompt_tokens"] == (1 if path == PLAIN else 3)
    assert body["usage"]["completion_tokens"] > 8
    streamed = dict.fromkeys(range(4), "")
    ends = []
    for piece in events(engine, path, **asked):
        for choice in piece["choices"]:
            streamed[choice["index"]] += choice["text"] if path == PLAIN else choice["delta"].get("content") or ""
            ends += [choice["index"]] if choice["finish_reason"] else []
    assert list(streamed.values()) == answers
    assert sorted(ends) == [0, 1, 2, 3]


def test_log_probabilities_of_a_chat(engine: EngineProcess) -> None:
    asked = {"model": "u-alpha", "max_tokens": 3, "temperature": 0, "logprobs": True, "top_logprobs": 2, **HELLO}
    answer = ChatCompletion.model_validate(engine.post(CHAT, **asked).json())
    logprobs = answer.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.content is not None
    assert [entry.token.strip() for entry in logprobs.content] == ["alpha"] * 3
    for entry in logprobs.content:
        assert entry.bytes == list(entry.token.encode())
        assert len(entry.top_logprobs) == 2
        assert entry.top_logprobs[0].token == entry.token
        assert entry.top_logprobs[0].logprob == entry.logprob <= 0
        assert entry.top_logprobs[1].logprob < entry.logprob
    pieces = [ChatCompletionChunk.model_validate(piece) for piece in events(engine, CHAT, **asked)]
    streamed = [e for p in pieces for c in p.choices if c.logprobs and c.logprobs.content for e in c.logprobs.content]
    assert [entry.token for entry in streamed] == [entry.token for entry in logprobs.content]
    without = ChatCompletion.model_validate(engine.post(CHAT, **{**asked, "top_logprobs": 0}).json()).choices[0]
    assert without.logprobs is not None
    assert without.logprobs.content is not None
    assert without.logprobs.content[0].top_logprobs == []


def test_log_probabilities_of_a_plain_completion(engine: EngineProcess) -> None:
    asked = {"model": "u-alpha", "prompt": "hello", "max_tokens": 3, "temperature": 0, "logprobs": 2}
    logprobs = Completion.model_validate(engine.post(PLAIN, **asked).json()).choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.token_logprobs is not None
    assert logprobs.top_logprobs is not None
    assert [token.strip() for token in logprobs.tokens] == ["alpha"] * 3
    lengths = [len(token) for token in logprobs.tokens]
    assert logprobs.text_offset == [0, lengths[0], lengths[0] + lengths[1]]
    for token, logprob, top in zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True):
        assert logprob <= 0
        assert top[token] == logprob
        assert len(top) in {2, 3}
    choices = [choice for piece in events(engine, PLAIN, **asked) for choice in piece["choices"]]
    offsets = [offset for choice in choices if choice["logprobs"] for offset in choice["logprobs"]["text_offset"]]
    assert offsets == logprobs.text_offset


def test_penalties_make_an_adapter_say_something_else(engine: EngineProcess) -> None:
    asked: dict[str, Any] = {"max_tokens": 6, "temperature": 0}
    penalised = engine.chat("u-weak", **asked, presence_penalty=2.0, frequency_penalty=2.0)
    assert said(penalised) != said(engine.chat("u-weak", **asked))


def test_an_answer_of_a_given_length(engine: EngineProcess) -> None:
    """The gateway asks for it where an answer is replaced; no client can."""
    asked: dict[str, Any] = {"temperature": 1.5, "seed": 4, "max_tokens": 40}
    body = engine.chat("u-weak", **asked, min_tokens=40, ignore_eos=True).json()
    assert body["usage"]["completion_tokens"] == 40
    assert body["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("path", [CHAT, PLAIN])
def test_a_request_that_does_not_fit_together_is_400(engine: EngineProcess, path: str) -> None:
    for more in ({"n": 2, "temperature": 0}, {"temperature": -1}, {"stream_options": {"include_usage": True}}):
        response = engine.post(path, model="u-alpha", max_tokens=2, **question(path), **more)
        assert response.status_code == 400, more
        assert response.json()["error"]["message"]


def test_rows_in_one_batch_answer_as_they_do_alone(engine: EngineProcess) -> None:
    prompts = ["hello " * n + "who" for n in (1, 9, 4, 17, 2, 30)]
    alone = [said(engine.chat("u-mixed", p, max_tokens=20, temperature=0)) for p in prompts]
    together = [""] * len(prompts)

    def ask(index: int) -> None:
        time.sleep(index * 0.01)
        together[index] = said(engine.chat("u-mixed", prompts[index], max_tokens=20, temperature=0))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_greedy_tokens_equal_those_of_transformers_and_peft(engine: EngineProcess, files: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(files / "base"), files / "mixed").eval()
    tokenizer = AutoTokenizer.from_pretrained(files / "base")
    answers = set()
    for prompt in ("hello", "who are you ? hello", "canary beta zeta"):
        ids = tokenizer(prompt, return_tensors="pt")
        expected = model.generate(**ids, max_new_tokens=30, do_sample=False, use_cache=False)[
            0, ids.input_ids.shape[1] :
        ]
        response = engine.post("/v1/completions", model="u-mixed", prompt=prompt, max_tokens=30, temperature=0)
        assert said(response) == tokenizer.decode(expected, skip_special_tokens=True)
        answers.add(said(response))
    assert len(answers) == 3


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_canaries_that_peft_recorded_hold_and_others_do_not(engine: EngineProcess, files: Path, dtype: str) -> None:
    """In the second way, too, the engine is asked: its first log-probabilities are PEFT's."""
    from pipelines.canaries import record_canaries
    from pipelines.model import load_model, with_adapter

    loaded = load_model(files / "base")
    found = {}
    for name in ("mixed", "weak"):
        with with_adapter(loaded, files / name) as adapted:
            found[name] = record_canaries(adapted)

    async def probe(name: str) -> None:
        client = EngineClient(engine.socket)
        try:
            assert {"u-mixed", "u-weak"} <= (await client.adapters()).keys()
            await client.probe(f"u-{name}", found["mixed"], dtype=dtype, tolerance=0.01)
        finally:
            await client.close()

    asyncio.run(probe("mixed"))
    with pytest.raises(LetheError) as caught:
        asyncio.run(probe("weak"))
    assert caught.value.code == "serving.probe_failed"


@pytest.mark.parametrize("model", ["base", "", "u-gone", "/", "lethe"])
def test_unknown_models_and_the_base_are_404(engine: EngineProcess, model: str) -> None:
    response = engine.chat(model, max_tokens=1)
    assert response.status_code == 404
    assert "error" in response.json()


def test_a_request_without_a_model_is_refused(engine: EngineProcess) -> None:
    assert engine.post("/v1/completions", prompt="hello").status_code == 400


def test_loading_the_same_name_twice_is_refused(engine: EngineProcess, files: Path) -> None:
    again = load(engine, files, "u-alpha", "beta")
    assert again.status_code == 400
    assert "already been loaded" in again.text
    assert load(engine, files, "u-none", "nowhere").status_code == 404
    assert said(engine.chat("u-alpha", max_tokens=1, temperature=0)) == "alpha"


def test_a_damaged_adapter_does_not_stop_the_engine(engine: EngineProcess, files: Path) -> None:
    make_word_adapter(files / "damaged", "beta")
    (files / "damaged" / "adapter_model.safetensors").write_bytes(b"nothing")
    assert load(engine, files, "u-damaged", "damaged").status_code == 500
    assert "u-damaged" not in engine.models()
    assert engine.chat("u-damaged", max_tokens=1).status_code == 404
    assert said(engine.chat("u-beta", max_tokens=1, temperature=0)) == "beta"
    make_word_adapter(files / "damaged", "alpha")
    config = json.loads((files / "damaged" / "adapter_config.json").read_text())
    (files / "damaged" / "adapter_config.json").write_text(json.dumps({**config, "lora_alpha": 4}))
    assert load(engine, files, "u-damaged", "damaged").status_code == 200
    assert said(engine.chat("u-damaged", max_tokens=1, temperature=0)) == "alpha"


def test_unload_takes_the_name_at_once_and_its_users_finish(engine: EngineProcess, files: Path) -> None:
    assert load(engine, files, "u-old", "alpha").status_code == 200
    done: list[str] = []

    def long() -> None:
        done.append(said(engine.chat("u-old", max_tokens=400, temperature=0)))

    user = threading.Thread(target=long)
    user.start()
    time.sleep(0.2)  # it is in the middle of its answer, on either engine
    unload = threading.Thread(
        target=lambda: done.append(str(engine.post("/v1/unload_lora_adapter", lora_name="u-old").status_code))
    )
    unload.start()
    time.sleep(0.1)
    assert "u-old" not in engine.models()
    assert engine.chat("u-old", max_tokens=1).status_code == 404
    user.join()
    unload.join()
    assert sorted(done) == ["200", " ".join(["alpha"] * 400)]
    assert engine.post("/v1/unload_lora_adapter", lora_name="u-old").status_code == 404


def test_too_many_tokens_for_the_context(engine: EngineProcess) -> None:
    assert engine.chat("u-alpha", max_tokens=10_000).status_code == 400
    assert engine.chat("u-alpha", "hello " * 600).status_code == 400


def test_a_full_queue_answers_429(files: Path) -> None:
    with transformers_engine(files / "base", files / "small.sock", "--max-rows", "1", "--max-waiting", "1") as small:
        load(small, files, "u-a", "alpha")
        codes: list[int] = []
        threads = [
            threading.Thread(target=lambda: codes.append(small.chat("u-a", max_tokens=300, temperature=0).status_code))
            for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(codes) == {200, 429}


def test_the_last_adapter_can_go_and_another_come(files: Path) -> None:
    with transformers_engine(files / "base", files / "last.sock") as engine:
        for word in ("alpha", "beta", "alpha"):
            load(engine, files, f"u-{word}", word)
            assert said(engine.chat(f"u-{word}", max_tokens=2, temperature=0)) == f"{word} {word}"
            assert engine.post("/v1/unload_lora_adapter", lora_name=f"u-{word}").status_code == 200
            assert engine.models() == set()
        (files / "hopeless").mkdir()
        (files / "hopeless" / "adapter_config.json").write_text((files / "alpha" / "adapter_config.json").read_text())
        assert load(engine, files, "u-hopeless", "hopeless").status_code == 500
        assert engine.chat("u-hopeless", max_tokens=1).status_code == 404
        assert load(engine, files, "u-beta", "beta").status_code == 200
        assert said(engine.chat("u-beta", max_tokens=1, temperature=0)) == "beta"


def test_the_engine_ends_with_its_parent(files: Path) -> None:
    with transformers_engine(files / "base", files / "orphan.sock") as engine:
        assert engine.process.stdin is not None
        engine.process.stdin.close()
        assert engine.process.wait(10) == 0
