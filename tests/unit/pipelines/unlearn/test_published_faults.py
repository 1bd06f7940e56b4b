"""Faults of the published code (docs/unlearning.md names them), each with a test that it would not pass."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from pipelines.encode import IGNORE, Encoded, collate, encode_pair
from pipelines.model import LoadedModel
from pipelines.unlearn import adapters
from pipelines.unlearn.drawn import DrawnStep
from pipelines.unlearn.forward import score, states
from pipelines.unlearn.losses import Raised, Scored
from pipelines.unlearn.lowering import Taught
from pipelines.unlearn.reference import Reference
from pipelines.unlearn.registry import Stream
from pipelines.unlearn.settings import KlMask, UnlearnSettings
from pipelines.unlearn.streams import Rows, sort_rows
from tests.unit.pipelines.tiny import tiny
from tests.unit.pipelines.unlearn.rows import ROWS

CPU = torch.device("cpu")
SHORT = ("Hi?", "It is blue.")
LONG = ("Tell me the number of the house, please. " * 3, "Nobody knows the number, and I would rather not guess.")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model whose adapter has moved it away from its base."""
    bare = tiny(tmp_path_factory.mktemp("tiny"), spread=1.0)
    model = adapters.attach(bare, UnlearnSettings(rank=4), None)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, tensor in adapters.tensors(model).items():
            if "lora_B" in name:
                tensor.normal_(std=0.05)
    return replace(bare, model=model)


@pytest.fixture(scope="module")
def rows(loaded: LoadedModel) -> list[Encoded]:
    return [encode_pair(loaded.tokenizer, *pair) for pair in (SHORT, LONG)]


@torch.no_grad()
def logits_of(loaded: LoadedModel, row: Encoded, *, base: bool = False) -> torch.Tensor:
    """Logits before every token but the first, from the row alone: no batch, no padding."""
    ids = torch.tensor([row.ids])
    if not base:
        return torch.as_tensor(loaded.model(input_ids=ids).logits)[0, :-1]
    with loaded.adapter_disabled():
        return torch.as_tensor(loaded.model(input_ids=ids).logits)[0, :-1]


def scored(loaded: LoadedModel, rows: list[Encoded]) -> Scored:
    with torch.no_grad():
        return score(loaded.model, rows, loaded.pad_id, CPU, autocast=False)


def test_cross_entropy_is_not_diluted_by_prompts_and_padding(loaded: LoadedModel, rows: list[Encoded]) -> None:
    nll = [
        functional.cross_entropy(
            logits_of(loaded, row)[row.answer_start - 1 :], torch.tensor(row.ids[row.answer_start :]), reduction="sum"
        )
        for row in rows
    ]
    tokens = sum(row.answer_tokens for row in rows)
    expected = float(sum(nll)) / tokens
    found = float(Raised(scored(loaded, rows)).cross_entropy())
    assert found == pytest.approx(expected, rel=1e-4)
    positions = len(rows) * max(len(row) for row in rows)
    assert float(sum(nll)) / positions < 0.5 * found  # what a mean over every position of the batch would give


@pytest.mark.parametrize("mask", ["answer", "all_real_tokens"])
def test_the_kl_sees_no_padding_and_prompts_only_where_it_is_told_to(
    loaded: LoadedModel, rows: list[Encoded], mask: KlMask
) -> None:
    step = drawn(loaded, rows, replace(SETTINGS, kl_mask=mask))
    with torch.no_grad():
        kept = step.retain()
    parts = []
    for row in rows:
        first = row.answer_start - 1 if mask == "answer" else 0
        ours, base = (logits_of(loaded, row, base=b)[first:].log_softmax(-1) for b in (False, True))
        parts.append((ours.exp() * (ours - base)).sum(-1))
    expected = float(torch.cat(parts).mean())
    assert float(kept.divergence("model_reference")) == pytest.approx(expected, rel=0.01)
    # The published code divides by the padded positions of the whole batch, prompts and padding included.
    diluted = float(torch.cat(parts).sum()) / (len(rows) * 512)
    assert diluted < 0.2 * expected
    assert len(kept.reference.tokens) == sum(len(part) for part in parts)
    # The cross-entropy stays one over the answers, whatever the KL looks at.
    assert float(kept.cross_entropy()) == pytest.approx(float(Raised(scored(loaded, rows)).cross_entropy()), rel=1e-4)


def test_the_two_masks_of_the_kl_are_not_the_same(loaded: LoadedModel, rows: list[Encoded]) -> None:
    answer, everywhere = (
        float(drawn(loaded, rows, replace(SETTINGS, kl_mask=mask)).retain().divergence("model_reference").detach())
        for mask in ("answer", "all_real_tokens")
    )
    assert answer != pytest.approx(everywhere, rel=0.01)


def test_undial_takes_no_ignored_label_for_a_token(loaded: LoadedModel, rows: list[Encoded]) -> None:
    """The published code indexes with -100: it lowers token V - 100 at prompts and padding, and averages over them."""
    beta = 10.0
    expected = []
    for row in rows:
        gold = torch.tensor(row.ids[row.answer_start :])
        ours, base = (logits_of(loaded, row, base=b)[row.answer_start - 1 :].clone() for b in (False, True))
        base[torch.arange(len(gold)), gold] -= beta
        expected.append(-(base.softmax(-1) * ours.log_softmax(-1)).sum(-1))
    reference = Reference(loaded, 8, 0, autocast=False)
    found = float(Taught(scored(loaded, rows), reference.logits(rows)).undial(beta))
    assert found == pytest.approx(float(torch.cat(expected).mean()), rel=1e-4)

    batch = collate(rows, loaded.pad_id, CPU)
    with torch.no_grad():
        ours = loaded.model(input_ids=batch.input_ids).logits[:, :-1]
        with loaded.adapter_disabled():
            base = loaded.model(input_ids=batch.input_ids).logits[:, :-1].clone()
    labels = batch.labels[:, 1:]
    assert bool((labels == IGNORE).any())
    base.scatter_add_(2, labels.where(labels != IGNORE, base.shape[2] - 100)[..., None], torch.full_like(base, -beta))
    faulty = float(functional.cross_entropy(ours.flatten(0, 1), base.softmax(-1).flatten(0, 1)))
    assert abs(faulty - found) > 0.05 * found


def test_hidden_states_are_those_of_answer_tokens(loaded: LoadedModel, rows: list[Encoded]) -> None:
    with torch.no_grad():
        found = states(loaded.model, rows, loaded.pad_id, CPU, 0, autocast=False)
        alone = [
            loaded.model(input_ids=torch.tensor([row.ids]), output_hidden_states=True).hidden_states[1][0]
            for row in rows
        ]
    expected = torch.cat([one[row.answer_start :] for one, row in zip(alone, rows, strict=True)])
    assert found.vectors.shape == expected.shape
    assert torch.allclose(found.vectors, expected, atol=1e-4)
    assert found.rows.tolist() == [0] * rows[0].answer_tokens + [1] * rows[1].answer_tokens


def test_a_truncated_answer_keeps_its_end_token_and_is_counted(loaded: LoadedModel) -> None:
    """The published data set cuts ``[:max_length]``: the answer's end goes, and the end token with it."""
    streams = sort_rows(ROWS, loaded.tokenizer, batch_tokens=99, max_length=12, replay_share=0.5, seed=0)
    cut = [row for stream in streams.values() for row in stream.encoded if row.truncated]
    assert cut
    assert all(row.ids[-1] == loaded.tokenizer.eos_token_id and len(row) <= 12 for row in cut)
    assert all(row.answer_tokens > 1 for row in cut)


def test_retain_rows_are_not_tied_to_forget_rows_by_their_index(loaded: LoadedModel) -> None:
    """The published data set takes retain row ``index % len(retain)`` for forget row ``index``, in every epoch."""
    streams = sort_rows(ROWS, loaded.tokenizer, batch_tokens=1, max_length=99, replay_share=0.5, seed=0)
    forget, retain = streams[Stream.NEGATIVE], streams[Stream.RETAIN]
    assert forget.batches_per_pass() == 3
    met: dict[int, set[int]] = {}
    for mine, theirs in zip(forget.plan(60), retain.plan(60), strict=True):
        met.setdefault(mine[0], set()).add(theirs[0])
    assert set(met) == {0, 1, 2}
    assert all(len(partners) == 6 for partners in met.values())
    seen = [theirs[0] for theirs in retain.plan(6)]
    assert sorted(seen) == list(range(6))  # each once before any comes twice


SETTINGS = UnlearnSettings(autocast=False, reference_top_k=320)


def drawn(loaded: LoadedModel, rows: list[Encoded], settings: UnlearnSettings) -> DrawnStep:
    """A step whose retain batch is these rows."""
    source = next(row for row in ROWS if row.kind.value == "retain")
    stream = Rows(Stream.RETAIN, tuple(rows), (source,) * len(rows), 1024, 0)
    reference = Reference(
        loaded, settings.reference_top_k, 1 << 20, autocast=False, everywhere=settings.kl_mask != "answer"
    )
    return DrawnStep(
        loaded=loaded,
        streams={Stream.RETAIN: stream},
        reference=reference,
        settings=settings,
        drawn={Stream.RETAIN: list(range(len(rows)))},
    )
