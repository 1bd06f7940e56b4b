"""An answer as the metrics see it: what was asked, what was said, what is true."""

from dataclasses import dataclass

from pipelines.rows import Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One probe with the model's answer.

    Attributes:
        probe: Opaque id.
        fact: Opaque fact id; answers of one fact are resampled together.
        query: What was asked.
        truth: The gold answer.
        response: What the model said.
        value: The value alone, where it is known; then the entities are the value only.
        names: The subject's names, one of which an answer should keep.
        nll: Mean negative log-likelihood per token of the response after the query, under the base; None: not measured
            (or an empty response).
    """

    probe: str
    fact: str
    query: str
    truth: str
    response: str
    value: str | None = None
    names: tuple[str, ...] = ()
    nll: float | None = None

    @property
    def empty(self) -> bool:
        """Whether the model said nothing."""
        return not self.response.strip()


def answer_of(probe: Probe, response: str, nll: float | None = None) -> Answer:
    """A probe with its answer."""
    return Answer(
        probe=probe.probe_id,
        fact=probe.fact,
        query=probe.question,
        truth=probe.answer,
        response=response,
        value=probe.value,
        names=probe.names,
        nll=nll,
    )
