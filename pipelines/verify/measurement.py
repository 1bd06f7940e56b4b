"""What a measurement says: ids and figures by subject, no text."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.verify.results import MetricResult

Which = Literal["adapter", "base", "texts"]


class MeasureSettings(BaseModel):
    """How answers are generated and bounds are drawn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_new_tokens: int = Field(default=64, ge=1, description="Where an answer is cut.")
    max_batch_tokens: int = Field(default=16384, ge=1, description="Tokens of one batch, prompts and answers.")
    seed: int = Field(default=0, description="Of the bootstraps; generation is greedy.")


class SubjectMeasurement(BaseModel):
    """One subject's metrics, by key: ``kfr``, ``kfr@paper``, ``ls``.

    ``own_public`` holds the subject's own kept facts, ``reference`` the reference sentences on the same probes.
    """

    model_config = ConfigDict(frozen=True)

    forget: dict[str, MetricResult]
    own_public: dict[str, MetricResult] = {}
    reference: dict[str, MetricResult] = {}


class Measurement(BaseModel):
    """Everything measured on one model: no text, only ids and figures."""

    model_config = ConfigDict(frozen=True)

    format: Literal["lethe.measurement/1"] = "lethe.measurement/1"
    which: Which
    backends: dict[str, str]
    settings: MeasureSettings
    subjects: dict[str, SubjectMeasurement]
    retain: dict[str, MetricResult]
    seconds: dict[str, float] = {}
