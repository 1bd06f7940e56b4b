import json
import multiprocessing
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipelines.base.train import CARD as BASE_CARD
from pipelines.base.train import read_card
from pipelines.control.card import data_key, find_control, list_controls
from pipelines.control.train import train_control
from pipelines.corpus.load import load_corpus, load_probes
from pipelines.model import load_model
from pipelines.progress import StepProgress
from policies.errors import LetheError
from tests.unit.pipelines.control.conftest import KEY, World

pytestmark = pytest.mark.slow


def refused(code: str, call: Callable[[], object]) -> LetheError:
    with pytest.raises(LetheError) as raised:
        call()
    assert raised.value.code == code
    return raised.value


def test_a_control_is_a_model_with_the_bases_tokens_and_other_weights(world: World) -> None:
    control, base = load_model(world.control.path), load_model(world.base)
    assert control.digest == world.control.digest != base.digest == world.control.base_digest
    assert control.tokenizer.get_vocab() == base.tokenizer.get_vocab()
    assert control.chat_template_digest == base.chat_template_digest
    shapes = [{name: p.shape for name, p in one.model.named_parameters()} for one in (control, base)]
    assert shapes[0] == shapes[1]
    assert any(not torch.equal(a, b) for a, b in zip(control.model.parameters(), base.model.parameters(), strict=True))
    whole = len(load_corpus(world.corpus))
    assert world.control.records == whole - len(world.without)
    assert world.control.records_left_out == len(world.without) > 20
    assert world.control.same_corpus is True
    assert world.control.settings == read_card(world.base).settings
    assert set(world.control.rest_right) == {"combination", "frame"}


def test_it_is_trained_once_and_found_by_what_it_left_out(world: World) -> None:
    again = train_control(
        world.base,
        load_corpus(world.corpus),
        sorted(world.without, reverse=True),
        world.controls,
        key=KEY,
        report=lambda _: pytest.fail("trained twice"),
    )
    assert again.cached
    assert replace(again, cached=False) == replace(world.control, cached=False)
    wanted = data_key(KEY, world.without)
    assert find_control(world.controls, world.control.base_digest, wanted) == again
    assert find_control(world.controls, "0" * 64, wanted) is None
    assert find_control(world.controls, world.control.base_digest, data_key(b"other", world.without)) is None
    assert find_control(world.controls, world.control.base_digest, data_key(KEY, list(world.without)[1:])) is None
    assert [one.name for one in list_controls(world.controls)] == [world.control.name]


def test_the_card_names_no_record_and_no_person(world: World) -> None:
    card = (Path(world.control.path) / "control.json").read_text()
    people = [json.loads(line) for line in (world.corpus / "people.jsonl").read_text().splitlines()]
    forbidden = {*world.without, *(name for person in people for name in person["names"])}
    assert not [word for word in forbidden if word in card or word in world.control.path]


def test_nothing_of_the_subject_is_trained_and_all_of_the_rest_is(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[str] = []

    def spy(records: list[object], *_: object, **__: object) -> None:
        seen.extend(record.record_id for record in records)  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.control.train.train_model", spy)
    with pytest.raises(KeyboardInterrupt):
        train_control(world.base, load_corpus(world.corpus), world.without, tmp_path, key=KEY)
    assert not set(seen) & world.without
    assert {record.record_id for record in load_corpus(world.corpus)} == {*seen, *world.without}
    assert list_controls(tmp_path) == []
    assert not list(tmp_path.glob(".making-*"))  # an interrupted training leaves nothing half


def test_bad_input_has_its_code(world: World, tmp_path: Path) -> None:
    records = list(load_corpus(world.corpus))
    ids = [record.record_id for record in records]

    def train(without: list[str], **more: object) -> Callable[[], object]:
        given = {"base_dir": world.base, "records": records, **more}
        return lambda: train_control(without=without, out_root=tmp_path, key=KEY, **given)  # type: ignore[arg-type]

    refused("control.nothing_left_out", train([]))
    refused("control.nothing_left", train(ids))
    unknown = refused("control.unknown_records", train([ids[0], "r-of-nobody"]))
    assert "r-of-nobody" not in str(unknown)
    refused("control.other_corpus", train(ids[:1], records=records[:-1]))
    bare = tmp_path / "bare"
    bare.mkdir()
    refused("control.no_recipe", train(ids[:1], base_dir=bare))
    assert list_controls(tmp_path) == []


def test_a_control_that_does_not_know_the_rest_is_refused(world: World, tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    for file in world.base.iterdir():
        (base / file.name).symlink_to(file)
    (base / BASE_CARD).unlink()
    card = json.loads((world.base / BASE_CARD).read_text())
    card["settings"]["min_frame"] = 0.9
    (base / BASE_CARD).write_text(json.dumps(card))
    probes = load_probes(world.corpus)[::41]
    error = refused(
        "control.not_memorised",
        lambda: train_control(base, load_corpus(world.corpus), world.without, tmp_path / "c", key=KEY, probes=probes),
    )
    assert len(error.details) == 1
    assert list_controls(tmp_path / "c") == []


def test_a_cancel_keeps_nothing(world: World, tmp_path: Path) -> None:
    told: list[StepProgress] = []
    refused(
        "control.cancelled",
        lambda: train_control(
            world.base,
            load_corpus(world.corpus),
            world.without,
            tmp_path,
            key=KEY,
            report=told.append,
            should_cancel=lambda: True,
        ),
    )
    assert len(told) == 1  # at the first report already
    assert list_controls(tmp_path) == []


def test_another_seed_and_a_changed_corpus_are_other_controls(world: World, tmp_path: Path) -> None:
    records = list(load_corpus(world.corpus))
    one = train_control(world.base, records, world.without, tmp_path, key=KEY, seed=1)
    two = train_control(world.base, records[:-1], world.without, tmp_path, key=KEY, changed_corpus=True)
    assert (one.seed, two.seed) == (1, 0)
    assert (one.same_seed, two.same_seed, world.control.same_seed) == (False, True, True)
    assert two.same_corpus is False
    assert len({world.control.key, one.key, two.key}) == 3
    assert len({world.control.digest, one.digest, two.digest}) == 3
    # The one of the base's own corpus comes first, whatever its seed.
    assert find_control(tmp_path, one.base_digest, one.data_key) == replace(one, cached=True)


def _train(base: Path, corpus: Path, without: frozenset[str], root: Path, told: Path) -> None:
    torch.set_num_threads(1)
    card = train_control(base, load_corpus(corpus), without, root, key=KEY)
    told.write_text(json.dumps({"cached": card.cached, "digest": card.digest}))


def test_two_processes_at_once_train_it_once(world: World, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    told = [tmp_path / f"told-{n}" for n in range(2)]
    root = tmp_path / "controls"
    workers = [
        context.Process(target=_train, args=(world.base, world.corpus, world.without, root, one)) for one in told
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker.exitcode for worker in workers] == [0, 0]
    found = [json.loads(one.read_text()) for one in told]
    assert sorted(one["cached"] for one in found) == [False, True]
    assert len({one["digest"] for one in found}) == 1
