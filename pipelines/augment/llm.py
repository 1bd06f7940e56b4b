"""The augmenter that asks a language model of the organisation's own, over an OpenAI-compatible address."""

import hashlib
from collections.abc import Sequence

from pipelines.augment.llm_client import Chat, LlmClient, LlmSettings, Reply
from pipelines.augment.port import AnswerAsk, Replies, VariantAsk
from pipelines.augment.prompts import answer_prompt, chunks, judge_prompt, judged_safe, tidy, variant_prompt

NOT_VERIFIED = "augment.not_verified"


class LlmAugmenter:
    """Question variants and vague answers by a model; each answer cleared by a judge before it counts.

    The generator never sees the forgotten answer. The judge does, piece by piece, and clears an answer only if it
    clears it against every piece. A model that cannot be reached is an error of every key that it owes.
    """

    def __init__(self, settings: LlmSettings) -> None:
        self._settings = settings
        self._client = LlmClient(settings)

    @property
    def name(self) -> str:
        """Which augmenter, and whether the data left the house."""
        return "llm-external" if self._settings.allow_external else "llm"

    def close(self) -> None:
        """Drop the connections."""
        self._client.close()

    def variants(self, asks: Sequence[VariantAsk]) -> Replies:
        """One question of the wanted variant for each ask."""
        chats = {ask.key: self._chat(*variant_prompt(ask), ask.seed) for ask in asks}
        return _sorted(self._client.ask(chats), one_line=True)

    def answers(self, asks: Sequence[AnswerAsk], attempt: int) -> Replies:
        """One vague answer for each ask that the judge cleared."""
        chats = {ask.key: self._chat(*answer_prompt(ask), f"{ask.seed}:{attempt}") for ask in asks}
        replies = _sorted(self._client.ask(chats), one_line=False)
        return self._judged(asks, replies) if self._settings.judge else replies

    def _judged(self, asks: Sequence[AnswerAsk], replies: Replies) -> Replies:
        judge = self._settings.judge_model or self._settings.model
        chats = {
            f"{ask.key}\n{number}": self._chat(*judge_prompt(ask, replies.texts[ask.key], chunk), ask.seed, judge, 0.0)
            for ask in asks
            if ask.key in replies.texts
            for number, chunk in enumerate(chunks(ask.gold))
        }
        kept, failed = dict(replies.texts), dict(replies.failed)
        for key, reply in self._client.ask(chats).items():
            asked = key.rpartition("\n")[0]
            if reply.text is None or not judged_safe(reply.text):
                kept.pop(asked, None)
                failed[asked] = reply.code or NOT_VERIFIED
        return Replies(kept, failed)

    def _chat(
        self, system: str, user: str, seed: str, model: str | None = None, temperature: float | None = None
    ) -> Chat:
        number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4]) >> 1
        heat = self._settings.temperature if temperature is None else temperature
        return Chat(model or self._settings.model, system, user, number, heat)


def _sorted(replies: dict[str, Reply], *, one_line: bool) -> Replies:
    texts = {key: tidy(reply.text, one_line=one_line) for key, reply in replies.items() if reply.text is not None}
    failed = {key: reply.code or "augment.no_answer" for key, reply in replies.items() if reply.text is None}
    return Replies(texts, failed)
