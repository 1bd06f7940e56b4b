"""What is known about a control, and which controls there are."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from policies.canonical import canonical_json, keyed_digest
from policies.errors import LetheError

CARD = "control.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlCard:
    """A control; written beside its weights as ``control.json``. It names no record and no person.

    Attributes:
        path: Its directory, an ordinary Hugging Face model; set when the card is read.
        digest: Of its weights, tokenizer and configuration.
        key: Of everything that decides it: base, corpus, records left out (keyed), recipe, seed and code.
        data_key: Keyed digest of the ids of the records that were left out; ``find_control`` asks for it.
        base_digest: The base that it is a control of.
        corpus_digest: What the base was trained on; of an added control None.
        source: Trained here by the base's own recipe, or trained elsewhere and added.
        seed: Of weights and order; None where it was added.
        same_seed: Whether that is the base's own: of another beginning a model thinks in other directions, and
            activation patching (UDS) says nothing; None where it was added.
        records: How many records it was trained on; None where it was added.
        records_left_out: How many were left out.
        same_corpus: Whether the corpus, before anything was left out, was the one that the base was trained on; None
            where it was added.
        rest_right: Share of right values by phrasing on held-out questions about everybody else; empty without any.
        left_out_right: The same for the facts that were left out: what can be guessed without having seen them.
        parameters: Number of weights.
        seconds: Wall time of the training.
        settings: The recipe.
        cached: Whether it was there already.
    """

    path: str
    digest: str
    key: str
    data_key: str
    base_digest: str
    corpus_digest: str | None
    source: Literal["trained", "added"]
    seed: int | None
    same_seed: bool | None
    records: int | None
    records_left_out: int
    same_corpus: bool | None
    rest_right: dict[str, float] = field(default_factory=dict)
    left_out_right: dict[str, float] = field(default_factory=dict)
    parameters: int
    seconds: float = 0.0
    settings: dict[str, Any] = field(default_factory=dict)
    cached: bool = False

    @property
    def name(self) -> str:
        """The name of its directory."""
        return self.key[:12]

    def to_json(self) -> dict[str, Any]:
        """A plain dictionary."""
        return asdict(self)


def data_key(key: bytes, without: Collection[str]) -> str:
    """Keyed digest of the ids that a control leaves out: nobody without the key can confirm a guess.

    Args:
        key: The installation's key of digests over personal data.
        without: Ids of the records; order and repetition do not matter.
    """
    return keyed_digest(key, canonical_json(["control", sorted(set(without))]))


def read_control(directory: Path) -> ControlCard:
    """The card of one control.

    Raises:
        LetheError: ``control.not_found``, ``control.unreadable``.
    """
    try:
        found = json.loads((directory / CARD).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LetheError("control.not_found", "There is no control of this name.") from None
    except ValueError:
        raise LetheError("control.unreadable", "The card of a control is damaged.", (directory.name,)) from None
    known = {one.name for one in fields(ControlCard)}
    if not isinstance(found, dict) or not known - {"cached"} <= set(found) <= known:
        raise LetheError("control.unreadable", "The card of a control is of another version.", (directory.name,))
    return replace(ControlCard(**found), path=str(directory), cached=True)


def list_controls(out_root: Path) -> list[ControlCard]:
    """Every whole control below a directory, by name; one with a damaged card is an error, never left out."""
    return [read_control(path.parent) for path in sorted(out_root.glob(f"[!.]*/{CARD}"))]


def find_control(out_root: Path, base_digest: str, data_key: str) -> ControlCard | None:
    """A control of a base without exactly these records, the best of them: trained here, same corpus, same seed.

    Args:
        out_root: Where controls lie.
        base_digest: ``LoadedModel.digest`` of the base.
        data_key: Of :func:`data_key`.
    """
    fitting = [one for one in list_controls(out_root) if (one.base_digest, one.data_key) == (base_digest, data_key)]
    return min(fitting, key=_preference, default=None)


def _preference(card: ControlCard) -> tuple[bool, bool, bool, int]:
    return card.source != "trained", not card.same_corpus, not card.same_seed, card.seed or 0


def write_card(directory: Path, card: ControlCard) -> None:
    """Write the card into a control's directory; its last file."""
    (directory / CARD).write_text(json.dumps(card.to_json(), indent=2) + "\n", encoding="utf-8")
