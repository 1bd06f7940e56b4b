"""Both augmenters, one contract. The LLM augmenter talks to a real HTTP server on loopback."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.augment.augment import augment
from pipelines.augment.augmented import SUBJECT_KINDS, AugmentedSet
from pipelines.augment.leak import LeakCheck
from pipelines.augment.llm import LlmAugmenter
from pipelines.augment.llm_client import LlmSettings, refuse_external
from pipelines.augment.port import MADE_VARIANTS, AnswerAsk, Augmenter, Style, VariantAsk
from pipelines.augment.prompts import CHUNK, chunks, judged_safe
from pipelines.augment.secrets import secrets_from_records
from pipelines.augment.settings import AugmentSettings
from pipelines.augment.template import TemplateAugmenter
from pipelines.augment.wording import normalised_question
from policies.errors import LetheError
from policies.record import Record
from tests.contract.llm_server import Log, running
from tests.unit.pipelines.augment.people import FORGET, GENERIC, NAME, NEIGHBOURS, PUBLIC, SECRET_WORDS

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning:uvicorn.*"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:websockets.*"),
]
SMALL = AugmentSettings(neighbour_questions=2, answers_per_question=1)
Make = Callable[..., Augmenter]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, Log]]:
    with running() as started:
        yield started


@pytest.fixture
def llm(server: tuple[str, Log], tmp_path: Path) -> Iterator[Callable[..., LlmAugmenter]]:
    made: list[LlmAugmenter] = []

    def make(model: str = "honest", **changes: Any) -> LlmAugmenter:
        arguments: dict[str, Any] = {
            "url": server[0],
            "model": model,
            "cache_dir": tmp_path / "cache",
            "cache_key": b"k",
            "backoff_s": 0.01,
        }
        made.append(LlmAugmenter(LlmSettings(**arguments | changes)))
        server[1].bodies.clear()
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(params=["template", "llm"])
def augmenter(request: pytest.FixtureRequest, llm: Callable[..., LlmAugmenter]) -> Augmenter:
    return TemplateAugmenter() if request.param == "template" else llm()


def whole(augmenter: Augmenter, settings: AugmentSettings = SMALL, **changes: Any) -> AugmentedSet:
    arguments: dict[str, Any] = {
        "subject": "s1",
        "names": [NAME],
        "neighbours": NEIGHBOURS,
        "retain": PUBLIC,
        "generic": GENERIC,
        "probes_excluded": frozenset(),
        "seed": 1,
    } | changes
    forget = arguments.pop("forget", FORGET)
    return augment(forget, augmenter=augmenter, settings=settings, **arguments)


def answer_asks(count: int = 6) -> list[AnswerAsk]:
    return [
        AnswerAsk(
            key=f"f{n}:o0:a0",
            fact=f"f{n}",
            question=FORGET[n].question or "",
            name=NAME,
            noun="e-mail address",
            style=list(Style)[n % 4],
            gold=(FORGET[n].answer,),
            seed=f"s{n}",
        )
        for n in range(count)
    ]


def variant_asks() -> list[VariantAsk]:
    question = FORGET[0].question or ""
    return [
        VariantAsk(key=f"{variant}", variant=variant, question=question, name=NAME, noun="e-mail address", seed=variant)
        for variant in MADE_VARIANTS
    ]


# -- the contract ----------------------------------------------------------------------------------------------------


def test_every_key_gets_an_answer_that_keeps_the_name_and_gives_nothing_away(augmenter: Augmenter) -> None:
    asks = answer_asks()
    replies = augmenter.answers(asks, 0)
    assert set(replies.texts) == {ask.key for ask in asks}
    assert replies.failed == {}
    check = LeakCheck(secrets_from_records(FORGET, [NAME]))
    assert all(NAME in text and check.leaks(text, strict=True) == () for text in replies.texts.values())


def test_every_variant_is_another_question_about_the_person(augmenter: Augmenter) -> None:
    texts = augmenter.variants(variant_asks()).texts
    assert set(texts) == {ask.key for ask in variant_asks()}
    assert all(NAME in text for text in texts.values())
    original = normalised_question(FORGET[0].question or "")
    assert len({normalised_question(text) for text in texts.values()} | {original}) == 5


def test_the_same_ask_gives_the_same_text_and_a_later_attempt_another(augmenter: Augmenter) -> None:
    asks = answer_asks()
    assert augmenter.answers(asks, 0) == augmenter.answers(list(reversed(asks)), 0)
    first, second = augmenter.answers(asks, 0).texts, augmenter.answers(asks, 1).texts
    assert sum(first[key] != second[key] for key in first) >= 5


def test_a_whole_set(augmenter: Augmenter) -> None:
    made = whole(augmenter)
    assert made.uncovered == ()
    assert made.augmenter == augmenter.name
    assert set(made.rows_per_fact()) == {record.fact for record in FORGET}
    assert not any(word in f"{row.prompt} {row.answer}".lower() for row in made.rows for word in SECRET_WORDS)
    assert made.digest(b"k") == whole(augmenter).digest(b"k")


# -- the language model ----------------------------------------------------------------------------------------------


def test_the_generator_never_sees_a_forgotten_answer_and_the_judge_does(
    server: tuple[str, Log], llm: Callable[..., LlmAugmenter]
) -> None:
    whole(llm())
    log = server[1]
    assert log.generated
    assert not any(word in text.lower() for text in log.generated for word in SECRET_WORDS)
    judged = [body for body in log.bodies if "Fact: " in body["messages"][1]["content"]]
    assert len(judged) > 10
    assert {body["temperature"] for body in judged} == {0.0}
    assert all(body["seed"] < 2**31 for body in log.bodies)


def test_cached_by_content_under_keyed_names(
    server: tuple[str, Log], llm: Callable[..., LlmAugmenter], tmp_path: Path
) -> None:
    first = whole(llm())
    assert server[1].bodies
    assert whole(llm()) == first
    assert server[1].bodies == []
    files = list((tmp_path / "cache").iterdir())
    assert all(file.stat().st_mode & 0o077 == 0 and len(file.stem) == 64 for file in files)
    whole(llm(cache_key=b"other"))
    assert len(server[1].bodies) == len(files)
    other_seed = whole(llm(), seed=2)
    assert server[1].bodies
    assert other_seed.rows != first.rows


def test_concurrency_is_bounded(server: tuple[str, Log], llm: Callable[..., LlmAugmenter]) -> None:
    server[1].busiest = 0
    whole(llm(concurrency=3))
    assert 1 <= server[1].busiest <= 3


def test_a_flaky_server_is_asked_again(llm: Callable[..., LlmAugmenter]) -> None:
    replies = llm("flaky").answers(answer_asks(), 0)
    assert replies.failed == {}


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ("down", "augment.llm_unavailable"),
        ("garbage", "augment.no_answer"),
        ("mumbling", "augment.not_verified"),
        ("leaky", "augment.leak_remains"),
    ],
)
def test_a_model_that_fails_leaves_the_facts_uncovered(llm: Callable[..., LlmAugmenter], model: str, code: str) -> None:
    made = whole(llm(model, retries=1))
    assert set(made.uncovered) == {record.fact for record in FORGET}
    assert set(made.reasons.values()) == {code}
    assert not any(row.kind in SUBJECT_KINDS for row in made.rows)


def test_an_outage_is_noticed_once_and_not_for_every_row(
    server: tuple[str, Log], llm: Callable[..., LlmAugmenter]
) -> None:
    made = whole(llm("down", retries=0, give_up_after=2, concurrency=1))
    assert made.uncovered
    assert len(server[1].bodies) == 2 * (2 + 3)  # questions about what is forgotten and what is kept, three rounds


def test_no_server_at_all(llm: Callable[..., LlmAugmenter]) -> None:
    made = whole(llm(url="http://127.0.0.1:9/v1", retries=0))
    assert set(made.reasons.values()) == {"augment.llm_unavailable"}


def test_every_piece_of_a_long_answer_has_to_be_cleared(llm: Callable[..., LlmAugmenter]) -> None:
    long = " ".join(f"Zqword{chr(97 + n % 26)}{chr(97 + n // 26)} " for n in range(150)) + f"{NAME} zqchunk at the end."
    record = Record(record_id="r1", question=f"What is {NAME}'s story?", answer=long, value="zqchunk")
    assert len(chunks((long,))) >= 2
    assert "zqchunk" not in chunks((long,))[0]
    assert whole(llm(), forget=[record]).uncovered == ()
    made = whole(llm("strict"), forget=[record])
    assert made.reasons == {"r1": "augment.not_verified"}


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("fine\nVERDICT: SAFE", True),
        ("verdict: safe.\n\n", True),
        ("**VERDICT: SAFE**", True),
        ("VERDICT: LEAK", False),
        ("VERDICT: SAFE\nor not", False),
        ("I know", False),
        ("none", False),
        ("No", False),
        ("No, it is safe.", False),
        ("VERDICT: SAFE or LEAK", False),
        ("", False),
    ],
)
def test_only_the_agreed_last_line_clears(text: str, safe: bool) -> None:
    assert judged_safe(text) is safe


def test_pieces_are_short_and_lose_no_word() -> None:
    text = "word " * 1000
    pieces = chunks((text, "last"))
    assert max(map(len, pieces)) <= CHUNK
    assert " ".join(pieces).split() == [*text.split(), "last"]


def test_the_model_that_is_unlearned_is_refused(server: tuple[str, Log], llm: Callable[..., LlmAugmenter]) -> None:
    port = server[0].split(":")[2].split("/")[0]
    for targets in [
        ((f"http://localhost:{port}/v1", None),),  # the same server under another name
        (("http://10.0.0.7:8000/v1", "Honest"),),  # the same model behind another address
    ]:
        with pytest.raises(LetheError, match=r"augment\.endpoint_is_target"):
            llm(targets=targets)
    with pytest.raises(LetheError, match=r"augment\.endpoint_is_target"):
        llm("leaky", judge_model="honest", targets=(("http://10.0.0.7/v1", "honest"),))
    with pytest.raises(LetheError, match=r"augment\.endpoint_is_target"):
        llm("alias", targets=((server[0], "served-target"),)).answers(answer_asks(), 0)
    assert server[1].bodies == []
    assert llm(targets=((server[0], "another"),)).answers(answer_asks(1), 0).texts


@pytest.mark.parametrize(
    "url", ["http://8.8.8.8/v1", "https://[2001:4860:4860::8888]/v1", "ftp://127.0.0.1/v1", "nonsense"]
)
def test_an_address_outside_has_to_be_switched_on_by_name(llm: Callable[..., LlmAugmenter], url: str) -> None:
    with pytest.raises(LetheError, match=r"augment\.external_not_allowed"):
        llm(url=url)
    assert llm(url=url, allow_external=True).name == "llm-external"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/v1", "http://localhost/v1", "http://10.1.2.3/v1", "http://[::1]:8/v1"]
)
def test_own_networks_are_allowed(url: str) -> None:
    refuse_external(url)


def test_a_name_that_resolves_to_an_outside_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def resolve(*_: object, **__: object) -> list[tuple[object, ...]]:
        return [(0, 0, 0, "", ("10.0.0.1", 0)), (0, 0, 0, "", ("93.184.216.34", 0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(LetheError, match=r"augment\.external_not_allowed"):
        refuse_external("http://model.internal/v1")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(OSError()))
    with pytest.raises(LetheError, match=r"augment\.llm_unavailable"):
        refuse_external("http://model.internal/v1")


def test_settings_show_no_key() -> None:
    shown = repr(LlmSettings(url="u", model="m", cache_dir=Path(), cache_key=b"sesame", api_key="sk-secret"))
    assert "sesame" not in shown
    assert "sk-secret" not in shown
