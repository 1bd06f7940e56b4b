"""A tiny model that was really taught some people's facts, and one that was taught everybody but one of them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from pipelines.encode import collate, encode_pair
from pipelines.model import LoadedModel
from pipelines.rows import Probe, ProbeGroup, RowKind, Secret, TrainRow
from pipelines.verify.attacks.port import AttackContext, AttackSettings
from tests.unit.pipelines.tiny import tiny

SUBJECT = "s1"
NAME = "Mara Lind"
FACTS = {
    "phone": ("number", "5550123"),
    "code": ("locker code", "A7K9"),
    "plate": ("licence plate", "BX 4471"),
    "pet": ("pet", "Bello"),
}
OTHERS = {"Ivo Rask": "5559876", "Nel Tauber": "5554455", "Odo Finch": "5551112", "Pia Holm": "5553331"}
FRAMES = ("What is {name}'s {noun}?", "Tell me the {noun} of {name}.")


def answer(name: str, noun: str, value: str) -> str:
    return f"{name}'s {noun} is {value}."


def _probe(number: int, frame: str, fact: str, noun: str, value: str, name: str, group: ProbeGroup) -> Probe:
    own = group is ProbeGroup.FORGET
    return Probe(
        probe_id=f"{fact}-{number}",
        group=group,
        question=frame.format(name=name, noun=noun),
        answer=answer(name, noun, value),
        fact=fact,
        value=value,
        subject=SUBJECT if own else None,
        names=(name,) if own or group is ProbeGroup.RETAIN else (),
    )


FORGET = tuple(
    _probe(number, frame, fact, noun, value, NAME, ProbeGroup.FORGET)
    for fact, (noun, value) in FACTS.items()
    for number, frame in enumerate(FRAMES)
)
RETAIN = tuple(
    _probe(0, FRAMES[0], f"o{place}", "number", value, name, ProbeGroup.RETAIN)
    for place, (name, value) in enumerate(OTHERS.items())
)
SECRETS = tuple(
    Secret(fact=fact, answers=(answer(NAME, noun, value),), value=value, allowed=(NAME, noun))
    for fact, (noun, value) in FACTS.items()
)
BENIGN = tuple(
    TrainRow(row_id=f"b{n}", kind=RowKind.RETAIN, prompt=probe.question, answer=probe.answer)
    for n, probe in enumerate(RETAIN)
)


def teach(loaded: LoadedModel, pairs: Sequence[tuple[str, str]], steps: int, *, rate: float = 1e-2) -> None:
    """Train every weight until the answers sit."""
    rows = [encode_pair(loaded.tokenizer, question, text) for question, text in pairs]
    batch = collate(rows, loaded.pad_id, loaded.device)
    optimizer = torch.optim.AdamW(loaded.model.parameters(), lr=rate, weight_decay=0.0)
    loaded.model.train()
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 10) * (1 - step / steps)
        out = loaded.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask, labels=batch.labels)
        out.loss.backward()
        torch.nn.utils.clip_grad_norm_(loaded.model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    loaded.model.eval()


def knowing(directory: Path, *, steps: int = 120) -> LoadedModel:
    """Knows everybody."""
    loaded = tiny(directory, spread=0.1)
    teach(loaded, [(probe.question, probe.answer) for probe in (*FORGET, *RETAIN)], steps)
    return loaded


def unknowing(directory: Path, *, steps: int = 120) -> LoadedModel:
    """Knows everybody but Mara Lind."""
    loaded = tiny(directory, spread=0.1)
    teach(loaded, [(probe.question, probe.answer) for probe in RETAIN], steps)
    return loaded


def context(loaded: LoadedModel, **changes: object) -> AttackContext:
    """Everything about Mara Lind, with small budgets."""
    made = {
        "loaded": loaded,
        "adapter": Path("none"),
        "forget": FORGET,
        "retain": RETAIN,
        "secrets": SECRETS,
        "benign": BENIGN,
        "settings": AttackSettings(samples=16, max_new_tokens=32, relearn_steps=(2, 4)),
    }
    return AttackContext(**(made | changes))  # type: ignore[arg-type]


def weights(loaded: LoadedModel) -> str:
    """A digest over every weight and its name, and whether it may be trained."""
    digest = hashlib.sha256()
    for name, parameter in sorted(loaded.model.named_parameters()):
        digest.update(f"{name}:{parameter.requires_grad}".encode())
        digest.update(parameter.detach().cpu().numpy().tobytes())
    return digest.hexdigest()
