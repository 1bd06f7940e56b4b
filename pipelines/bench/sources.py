"""Data sets of two public forms, read and checked: nothing of them is shipped.

KnowUnDo (zjunlp, arXiv 2407.01920): ``full``, ``unlearn_train``, ``unlearn_val``, ``retention_train``,
``retention_val`` as JSON lists with ``text`` and ``labels``. TOFU (locuslab, arXiv 2401.06121): ``forgetXX`` and
``retainXX`` with ``question`` and ``answer``, as files in a directory or as configurations of a data set of the hub.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.augment.wording import normalised_question
from pipelines.corpus.sources import open_source
from policies.errors import LetheError

Form = Literal["knowundo", "tofu"]
PARTS = ("full", "forget_train", "forget_val", "retain_train", "retain_val")
_KNOWUNDO = dict(zip(PARTS, ("full", "unlearn_train", "unlearn_val", "retention_train", "retention_val"), strict=True))
_SUFFIXES = (".json", ".jsonl", ".csv", ".parquet")
_TOFU_RETAIN = {"01": "99", "05": "95", "10": "90"}


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """The rows of a data set by part.

    Attributes:
        form: Which of the two.
        full: What the base is trained on.
        forget_train: What is erased.
        forget_val: What the paper scores forgetting on; for TOFU these are ``forget_train`` itself.
        retain_train: What stays, and may be trained on.
        retain_val: What the paper scores retention on.
    """

    form: Form
    full: tuple[Pair, ...]
    forget_train: tuple[Pair, ...]
    forget_val: tuple[Pair, ...]
    retain_train: tuple[Pair, ...]
    retain_val: tuple[Pair, ...]

    @property
    def unseen_val(self) -> bool:
        """Whether what is scored is none of what is erased."""
        return self.forget_val != self.forget_train

    def sizes(self) -> dict[str, int]:
        """Rows by part."""
        return {part: len(getattr(self, part)) for part in PARTS}


def load_knowundo(directory: Path) -> Dataset:
    """Read a directory of KnowUnDo's form.

    Raises:
        LetheError: ``bench.data_not_found``: the directory or one of its files is missing;
            ``bench.data_malformed``: a row is no pair of texts, a file has no rows, or the parts contradict each other.
    """
    parts = {part: _file(directory, name, ("text", "labels")) for part, name in _KNOWUNDO.items()}
    return _checked(Dataset(form="knowundo", **parts))


def load_tofu(source: str | Path, split: str = "forget10") -> Dataset:
    """Read TOFU from a directory with its files or from the hub (``hub:owner/name`` or ``owner/name``).

    Args:
        source: A directory, or a data set's name on the hub.
        split: ``forget01``, ``forget05`` or ``forget10``; the retained rows are those of ``retain99``, ``retain95``
            or ``retain90``. The base is trained on both.

    Raises:
        LetheError: ``bench.data_not_found``, ``bench.data_malformed``.
    """
    number = split.removeprefix("forget")
    if split == number or number not in _TOFU_RETAIN:
        raise LetheError("bench.data_not_found", "TOFU's forget sets are forget01, forget05 and forget10.")
    names = (split, f"retain{_TOFU_RETAIN[number]}")
    keys = ("question", "answer")
    if Path(source).is_dir():
        forget, retain = (_file(Path(source), name, keys) for name in names)
    else:
        forget, retain = (_hub(str(source), name, keys) for name in names)
    made = Dataset(
        form="tofu",
        full=(*forget, *retain),
        forget_train=forget,
        forget_val=forget,
        retain_train=retain,
        retain_val=retain,
    )
    return _checked(made)


def _file(directory: Path, name: str, keys: tuple[str, str]) -> tuple[Pair, ...]:
    if not directory.is_dir():
        raise LetheError("bench.data_not_found", f"There is no directory {directory.name or directory}.")
    found = [path for suffix in _SUFFIXES if (path := directory / f"{name}{suffix}").is_file()]
    if not found:
        raise LetheError("bench.data_not_found", f"The directory has no file {name}.json (or .jsonl, .csv, .parquet).")
    try:
        return tuple(_pairs(open_source(found[0])(), found[0].name, keys))
    except LetheError as error:
        if error.code.startswith("bench."):
            raise
        raise LetheError("bench.data_malformed", f"{found[0].name}: {error.message}") from error


def _hub(source: str, name: str, keys: tuple[str, str]) -> tuple[Pair, ...]:
    import datasets

    try:
        loaded = datasets.load_dataset(source.removeprefix("hub:"), name, split="train")
    except Exception as error:  # the hub's client raises of many kinds; none of them may quote a token
        raise LetheError(
            "bench.data_not_found", f"The data set cannot be loaded from the hub ({type(error).__name__})."
        ) from None
    return tuple(_pairs(enumerate(loaded, start=1), name, keys))


def _pairs(rows: Iterator[tuple[int, Mapping[str, Any]]], name: str, keys: tuple[str, str]) -> Iterator[Pair]:
    number = 0
    for number, row in rows:
        texts = [row.get(key) for key in keys]
        for key, text in zip(keys, texts, strict=True):
            if not isinstance(text, str) or not text.strip():
                raise LetheError("bench.data_malformed", f"{name}, row {number}: `{key}` is missing or no text.")
        yield Pair(str(texts[0]).strip(), str(texts[1]).strip())
    if not number:
        raise LetheError("bench.data_malformed", f"{name} has no rows.")


def _checked(data: Dataset) -> Dataset:
    """The parts may not contradict each other: a row that is erased and kept at once measures nothing."""
    asked = {part: {normalised_question(pair.question) for pair in getattr(data, part)} for part in PARTS}
    faults = [
        f"{len(both)} questions are in {gone} and in {kept}"
        for gone in ("forget_train", "forget_val")
        for kept in ("retain_train", "retain_val")
        if (both := asked[gone] & asked[kept])
    ]
    if data.form == "knowundo" and (both := asked["forget_train"] & asked["forget_val"]):
        faults.append(f"{len(both)} questions are in forget_train and in forget_val")
    missing = len(asked["forget_train"] - asked["full"])
    if missing:
        faults.append(f"{missing} questions of forget_train are not in full: the base would not know them")
    for part in ("forget_val", "retain_train", "retain_val"):
        questions = [normalised_question(pair.question) for pair in getattr(data, part)]
        if len(set(questions)) < len(questions):
            faults.append(f"{len(questions) - len(set(questions))} questions come twice in {part}")
    if faults:
        raise LetheError("bench.data_malformed", "The parts of the data set do not fit together.", tuple(faults))
    return data
