"""A policy pack: the law of one regime, and the organisation's choices within it, as data.

``load_pack`` gives a pack that is whole or refuses it; ``check_pack`` names every fault at once, with line numbers
(policies/pack_check.py). A pack has a version, which people read, and a digest, which nothing can fake.
"""

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from policies.canonical import canonical_json, sha256_hex
from policies.deadlines import Basis, DeadlineRules
from policies.errors import LetheError
from policies.thresholds import Thresholds
from policies.ticket import CategoryPattern, Code

Outcome = Literal["approve", "deny", "hold", "await_identity", "await_approval"]
KeepProbes = Literal["sealed", "none"]
Article = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=2000)]
RuleId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9-]{0,63}$")]
PACKS = Path(__file__).parent / "packs"
MAX_PACK_BYTES = 512 * 1024


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", allow_inf_nan=False)


class Source(_Strict):
    """A provision that the pack builds on."""

    article: Article
    title: Text
    law: Text
    url: Annotated[str, StringConstraints(pattern=r"^https://", max_length=300)] | None = None
    note: Note = ""


class IdentityRules(_Strict):
    """How sure the controller must be of who asks."""

    required: bool = Field(description="false is an opt-out: it is named in every decision.")
    methods: Annotated[tuple[Code, ...], Field(min_length=1, max_length=32)]
    article: Article
    note: Note = ""


class Ground(_Strict):
    """A reason for which the subject may have its data erased."""

    code: Code
    article: Article
    title: Text


class Exemption(_Strict):
    """A reason for which some data is kept, and which data that is in this organisation."""

    code: Code
    article: Article
    title: Text
    enabled: bool = False
    keeps: Annotated[tuple[CategoryPattern, ...], Field(max_length=32)] = ()
    when: str | None = Field(default=None, max_length=2000, description="CEL; None: whenever it is enabled.")
    basis: Basis = Field(default="house", description="Which categories fall under the article is a house choice.")
    note: Note = ""


class HoldRules(_Strict):
    """What a legal hold does."""

    article: Article
    review_days: int = Field(ge=1, le=366, description="How often a hold must be looked at again.")
    note: Note = ""


class ApprovalRules(_Strict):
    """Who must say yes before anything is forgotten."""

    roles: Annotated[tuple[Code, ...], Field(max_length=16)]
    approvals: int = Field(ge=0, le=5)
    four_eyes: bool = Field(description="Whoever entered the ticket does not count as an approver.")
    article: Article
    basis: Basis = "house"
    note: Note = ""


class Rule(_Strict):
    """One rule. The first whose condition holds decides."""

    id: RuleId
    title: Text
    article: Article
    when: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    outcome: Outcome
    letter: Code


class Letters(_Strict):
    """What the subject is told; the texts know no placeholders, so no value can slip in."""

    texts: dict[Code, Text]
    partial: Code = Field(description="The letter where exemptions keep some categories.")
    denied: Code = Field(description="The letter where a person denies.")
    fallback: Code = Field(description="The letter where no rule fired.")


class Retention(_Strict):
    """How long what is left of a closed ticket is kept."""

    register_months: int = Field(ge=1, le=240)
    sealed_months: int = Field(
        ge=0, le=240, description="Probes and replay rows, sealed; 0 only with keep_probes none."
    )
    article: Article
    basis: Basis = "house"
    note: Note = ""


class PackData(_Strict):
    """The content of a pack's file."""

    schema_version: Literal[1]
    regime: Code
    title: Text
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$")]
    zone: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$")] = Field(
        default="UTC", description="The controller's time zone; the installation's settings may name another."
    )
    notice: Text = Field(description="What this pack is not.")
    sources: Annotated[tuple[Source, ...], Field(min_length=1, max_length=100)]
    identity: IdentityRules
    grounds: Annotated[tuple[Ground, ...], Field(min_length=1, max_length=32)]
    exemptions: Annotated[tuple[Exemption, ...], Field(max_length=32)] = ()
    holds: HoldRules
    approval: ApprovalRules
    deadlines: DeadlineRules
    rules: Annotated[tuple[Rule, ...], Field(min_length=1, max_length=100)]
    letters: Letters
    thresholds: Thresholds
    keep_probes: KeepProbes
    retention: Retention


class PolicyPack(_Strict):
    """A checked pack with its digest."""

    data: PackData
    digest: str = Field(description="SHA-256 of the canonical JSON of the content: comments and layout do not count.")
    origin: str = Field(description="builtin or the file's name; not part of the digest.")

    @classmethod
    def of(cls, data: PackData, origin: str) -> Self:
        """The pack with its digest computed."""
        return cls(data=data, digest=sha256_hex(canonical_json(data.model_dump(mode="json"))), origin=origin)

    @property
    def regime(self) -> str:
        """The regime's code."""
        return self.data.regime

    @property
    def version(self) -> str:
        """The version that people read."""
        return self.data.version

    @property
    def thresholds(self) -> Thresholds:
        """What the verdict must reach."""
        return self.data.thresholds

    @property
    def keep_probes(self) -> KeepProbes:
        """Whether probes stay, sealed, for later checks."""
        return self.data.keep_probes


@lru_cache(maxsize=1)
def builtin_packs() -> tuple[str, ...]:
    """The names of the packs that come with Lethe."""
    return tuple(sorted(path.stem for path in PACKS.glob("*.yaml")))


def pack_path(name: str | Path) -> Path:
    """The file of a built-in pack's name, or the path itself.

    Raises:
        LetheError: ``policy.pack_not_found``.
    """
    if str(name) in builtin_packs():
        return PACKS / f"{name}.yaml"
    path = Path(name)
    if not path.is_file():
        raise LetheError("policy.pack_not_found", f"no pack at this path; built in are: {', '.join(builtin_packs())}")
    return path


def load_pack(name: str | Path) -> PolicyPack:
    """A built-in pack by its name, or a pack of your own by its path.

    Raises:
        LetheError: ``policy.pack_not_found``, or ``policy.pack_invalid`` with every fault in the details.
    """
    path = pack_path(name)
    return _load(path, path.stat().st_mtime_ns, path.stat().st_size)


@lru_cache(maxsize=32)
def _load(path: Path, modified: int, size: int) -> PolicyPack:
    """The stat values belong to the key of the cache: a changed file is read again."""
    from policies.pack_check import read_pack

    data, faults = read_pack(path)
    if data is None or faults:
        details = tuple(str(fault) for fault in faults)
        raise LetheError("policy.pack_invalid", f"the pack {path.name} has {len(faults)} fault(s)", details)
    return PolicyPack.of(data, "builtin" if path.parent == PACKS else path.name)
