"""The batches of one step, run through the model when a method asks for them (``registry.Step``)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pipelines.encode import Encoded
from pipelines.model import LoadedModel
from pipelines.unlearn import forward
from pipelines.unlearn.losses import Kept, Raised, Scored
from pipelines.unlearn.lowering import Compared, Held, Lowered, Preference, States, Steered, Taught, control_vector
from pipelines.unlearn.reference import Reference
from pipelines.unlearn.registry import Stream
from pipelines.unlearn.rehearsal import Rehearsal
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.streams import Rows

_Keys = list[tuple[Stream, int]]


@dataclass(slots=True, kw_only=True)
class DrawnStep:
    """One step's batches.

    Attributes:
        loaded: The model that is trained.
        streams: The rows.
        reference: The base's view of them.
        settings: Of the run.
        drawn: Places of the rows of this step's batch in each stream.
        chosen: Stream and places of the answers that are paired with the negative batch.
        rehearsal: The leak that is played in training, where the method wants it.
        number: Of the step, from 0.
        tokens: Answer tokens that were learned from so far.
        used: Streams that the method took.
    """

    loaded: LoadedModel
    streams: Mapping[Stream, Rows]
    reference: Reference
    settings: UnlearnSettings
    drawn: Mapping[Stream, list[int]]
    chosen: tuple[Stream, list[int]] | None = None
    rehearsal: Rehearsal | None = None
    number: int = 0
    tokens: int = field(default=0, init=False)
    used: set[Stream] = field(default_factory=set, init=False)

    def augmented(self) -> Raised:
        """Rows with vague answers."""
        return Raised(self._score(self._rows(Stream.AUGMENTED)[1]))

    def refusals(self) -> Raised:
        """Raw questions with a refusal."""
        return Raised(self._score(self._rows(Stream.REFUSAL)[1]))

    def retain(self) -> Kept:
        """Rows that stay."""
        keys, rows = self._rows(Stream.RETAIN)
        reference = self.reference.distributions(keys, rows)
        if self.settings.kl_mask == "answer":
            return Kept(self._score(rows), reference)
        everywhere = self._score(rows, everywhere=True)
        return Kept(forward.answers_of(everywhere, rows), reference, everywhere)

    def retain_answers(self) -> Raised:
        """The same without the base's view."""
        return Raised(self._score(self._rows(Stream.RETAIN)[1]))

    def negative(self) -> Lowered:
        """Rows whose likelihood falls."""
        return Lowered(self._score(self._rows(Stream.NEGATIVE)[1]))

    def compared(self) -> Compared:
        """The same, and the base's likelihood of them."""
        keys, rows = self._rows(Stream.NEGATIVE)
        return Compared(self._score(rows), self.reference.nll(keys, rows))

    def after_leak(self) -> Compared:
        """Rows of facts that have not leaked, with the leak of the others on."""
        if self.rehearsal is None:
            raise ValueError("the method does not say that it rehearses")
        places = self.rehearsal.go_on(self.number)
        keys, rows = self._rows(Stream.NEGATIVE, places)[0], self.rehearsal.telling(places)
        with self.rehearsal.leaked():
            scored = self._score(rows)
        return Compared(scored, self.reference.nll(keys, rows))

    def taught(self) -> Taught:
        """The same, and the base's logits."""
        rows = self._rows(Stream.NEGATIVE)[1]
        return Taught(self._score(rows), self.reference.logits(rows))

    def pairs(self) -> Preference:
        """Rows whose likelihood falls, each with another answer to its question: one pass for both."""
        if self.chosen is None:
            raise ValueError("the method names no stream of chosen answers")
        keys, rows = self._rows(Stream.NEGATIVE)
        their_keys, theirs = self._rows(*self.chosen)
        chosen, rejected = self._score([*theirs, *rows]).split(len(theirs))
        return Preference(
            chosen=chosen,
            chosen_reference=self.reference.nll(their_keys, theirs),
            rejected=Compared(rejected, self.reference.nll(keys, rows)),
        )

    def steered(self) -> Steered:
        """Hidden states of the rows whose likelihood falls."""
        states = self._states(self._rows(Stream.NEGATIVE)[1])
        control = control_vector(states.vectors.shape[1], self.settings.rmu_coefficient, self.settings.seed)
        return Steered(states, control.to(self.loaded.device))

    def held(self) -> Held:
        """Hidden states of the rows that stay."""
        rows = self._rows(Stream.RETAIN)[1]
        return Held(self._states(rows), self.reference.states(rows, self._layer))

    @property
    def _layer(self) -> int:
        return forward.steered_layer(self.loaded.model, self.settings.rmu_layer)

    def _rows(self, stream: Stream, places: list[int] | None = None) -> tuple[_Keys, list[Encoded]]:
        drawn = self.drawn[stream] if places is None else places
        rows = [self.streams[stream].encoded[place] for place in drawn]
        self.used.add(stream)
        self.tokens += sum(row.answer_tokens for row in rows)
        return [(stream, place) for place in drawn], rows

    def _score(self, rows: Sequence[Encoded], *, everywhere: bool = False) -> Scored:
        loaded, autocast = self.loaded, self.settings.autocast
        return forward.score(loaded.model, rows, loaded.pad_id, loaded.device, autocast=autocast, everywhere=everywhere)

    def _states(self, rows: Sequence[Encoded]) -> States:
        loaded, autocast = self.loaded, self.settings.autocast
        return forward.states(loaded.model, rows, loaded.pad_id, loaded.device, self._layer, autocast=autocast)
