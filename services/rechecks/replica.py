"""Asks one replica at its own address, with a token that names it: no load balancer and no suppression in between."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from policies.errors import LetheError
from services.serving.probe_token import issue
from services.store.types import utc_now

if TYPE_CHECKING:
    import httpx

    from services.keys import SigningKey
    from services.settings import ServingSettings

MAX_TOKENS = 64
_PAUSE_S = 0.2
_TRY_AGAIN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A replica to ask.

    Attributes:
        replica_id: Which.
        address: URL of its gateway.
        generation: That its answers must come from.
    """

    replica_id: str
    address: str
    generation: int


@dataclass(frozen=True, kw_only=True)
class Asker:
    """Asks questions of replicas.

    Attributes:
        serving: Model name, limits.
        key: The audit key, which signs the tokens.
        transport: Another way than the network (tests).
    """

    serving: "ServingSettings"
    key: "SigningKey" = field(repr=False)
    transport: "httpx.BaseTransport | None" = None

    def answers(self, replica: Asked, questions: Sequence[str]) -> list[str]:
        """Greedy answers, in the order of the questions.

        Raises:
            LetheError: ``swap.probe_unanswered``; ``swap.superseded`` where another generation answered.
        """
        import httpx

        with (
            httpx.Client(
                base_url=replica.address,
                timeout=self.serving.probe_timeout_s,
                trust_env=False,  # a proxy of the environment must not see what is asked about a person
                transport=self.transport,
            ) as http,
            ThreadPoolExecutor(self.serving.probe_parallel, thread_name_prefix="probe") as threads,
        ):
            return list(threads.map(lambda question: self._ask(http, replica, question), questions))

    def _ask(self, http: "httpx.Client", replica: Asked, question: str) -> str:
        import httpx

        deadline = time.monotonic() + self.serving.probe_timeout_s
        body = {
            "model": self.serving.model_names[0],
            "messages": [{"role": "user", "content": question}],
            "max_tokens": MAX_TOKENS,
            "temperature": 0,
        }
        while True:
            token = issue(self.key, replica.replica_id, now=utc_now())
            try:
                response = http.post("/v1/chat/completions", json=body, headers={"Authorization": f"Bearer {token}"})
                failed = f"answered {response.status_code}" if response.is_error else None
                again = response.status_code in _TRY_AGAIN
            except httpx.TransportError as error:
                failed, again = type(error).__name__, True
            if failed is None:
                break
            if not again or time.monotonic() > deadline:
                raise LetheError("swap.probe_unanswered", f"Replica {replica.replica_id}: {failed}.")
            time.sleep(_PAUSE_S)
        if response.headers.get("x-lethe-generation") != str(replica.generation):
            raise LetheError("swap.superseded", f"Replica {replica.replica_id} answers from another generation.")
        return str(response.json()["choices"][0]["message"]["content"])
