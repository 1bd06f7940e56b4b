"""The batches of one step, run through the model when a method asks for them (``registry.Step``)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipelines.encode import Encoded
from pipelines.model import LoadedModel
from pipelines.ranks import ALONE, Ranks, Share
from pipelines.unlearn import forward
from pipelines.unlearn.losses import Kept, Raised, Scored
from pipelines.unlearn.lowering import Compared, Held, Lowered, Preference, States, Steered, Taught, control_vector
from pipelines.unlearn.reference import Reference
from pipelines.unlearn.registry import Stream
from pipelines.unlearn.rehearsal import Rehearsal
from pipelines.unlearn.settings import UnlearnSettings
from pipelines.unlearn.streams import Rows


@dataclass(frozen=True, slots=True)
class Part:
    """This process' rows of a batch.

    Attributes:
        keys: The rows' names in the reference.
        rows: The rows themselves.
        share: What they count in a mean over the batch.
    """

    keys: list[tuple[Stream, int]]
    rows: list[Encoded]
    share: Share

    @property
    def places(self) -> list[int]:
        """Of the rows in their stream."""
        return [place for _, place in self.keys]


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
        ranks: The processes that share each batch.
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
    ranks: Ranks = ALONE
    tokens: int = field(default=0, init=False)
    used: set[Stream] = field(default_factory=set, init=False)

    def augmented(self) -> Raised:
        """Rows with vague answers."""
        return Raised(self._score(self._part(Stream.AUGMENTED)))

    def refusals(self) -> Raised:
        """Raw questions with a refusal."""
        return Raised(self._score(self._part(Stream.REFUSAL)))

    def retain(self) -> Kept:
        """Rows that stay."""
        part = self._part(Stream.RETAIN)
        reference = self.reference.distributions(part.keys, part.rows)
        if self.settings.kl_mask == "answer":
            return Kept(self._score(part), reference)
        everywhere = self._score(part, everywhere=True)
        return Kept(forward.answers_of(everywhere, part.rows), reference, everywhere)

    def retain_answers(self) -> Raised:
        """The same without the base's view."""
        return Raised(self._score(self._part(Stream.RETAIN)))

    def negative(self) -> Lowered:
        """Rows whose likelihood falls."""
        return Lowered(self._score(self._part(Stream.NEGATIVE)))

    def compared(self) -> Compared:
        """The same, and the base's likelihood of them."""
        part = self._part(Stream.NEGATIVE)
        return Compared(self._score(part), self.reference.nll(part.keys, part.rows))

    def after_leak(self) -> Compared:
        """Rows of facts that have not leaked, with the leak of the others on."""
        if self.rehearsal is None:
            raise ValueError("the method does not say that it rehearses")
        part = self._part(Stream.NEGATIVE, self.rehearsal.go_on(self.number))
        part = replace(part, rows=self.rehearsal.telling(part.places))
        with self.rehearsal.leaked():
            scored = self._score(part)
        return Compared(scored, self.reference.nll(part.keys, part.rows))

    def taught(self) -> Taught:
        """The same, and the base's logits."""
        part = self._part(Stream.NEGATIVE)
        return Taught(self._score(part), self.reference.logits(part.rows))

    def pairs(self) -> Preference:
        """Rows whose likelihood falls, each with another answer to its question: one pass for both."""
        if self.chosen is None:
            raise ValueError("the method names no stream of chosen answers")
        part = self._part(Stream.NEGATIVE)
        theirs = self._part(*self.chosen)
        both = replace(part, rows=[*theirs.rows, *part.rows])
        chosen, rejected = self._score(both).split(len(theirs.rows))
        return Preference(
            chosen=chosen,
            chosen_reference=self.reference.nll(theirs.keys, theirs.rows),
            rejected=Compared(rejected, self.reference.nll(part.keys, part.rows)),
        )

    def steered(self) -> Steered:
        """Hidden states of the rows whose likelihood falls."""
        states = self._states(self._part(Stream.NEGATIVE))
        control = control_vector(states.vectors.shape[1], self.settings.rmu_coefficient, self.settings.seed)
        return Steered(states, control.to(self.loaded.device))

    def held(self) -> Held:
        """Hidden states of rows that stay."""
        part = self._part(Stream.RETAIN)
        return Held(self._states(part), self.reference.states(part.rows, self._layer))

    @property
    def _layer(self) -> int:
        return forward.steered_layer(self.loaded.model, self.settings.rmu_layer)

    def _part(self, stream: Stream, places: list[int] | None = None) -> Part:
        drawn = self.drawn[stream] if places is None else places
        encoded = self.streams[stream].encoded
        self.used.add(stream)
        self.tokens += sum(encoded[place].answer_tokens for place in drawn)
        mine, share = self.ranks.split(drawn)
        return Part([(stream, place) for place in mine], [encoded[place] for place in mine], share)

    def _score(self, part: Part, *, everywhere: bool = False) -> Scored:
        loaded, autocast = self.loaded, self.settings.autocast
        return forward.score(
            loaded.model,
            part.rows,
            loaded.pad_id,
            loaded.device,
            autocast=autocast,
            everywhere=everywhere,
            share=part.share,
        )

    def _states(self, part: Part) -> States:
        loaded, autocast = self.loaded, self.settings.autocast
        return forward.states(
            loaded.model, part.rows, loaded.pad_id, loaded.device, self._layer, autocast=autocast, share=part.share
        )
