"""The BentoML service ``Serving``: one process, one gateway, one replica. It must never import torch."""

import asyncio
import gc
import logging
import os
import socket
from dataclasses import asdict
from typing import Any

import bentoml

from pipelines.adapter import base_identity
from pipelines.adapter.weights import base_linear_shapes
from services import keys, lifeline, sealing, telemetry
from services.installation import hold_role, open_installation
from services.serving.base import base_directory, floor_of, serving_dtype
from services.serving.changes import Changes
from services.serving.engines import make_engine, max_rank
from services.serving.figures import observe_replica
from services.serving.gateway.app import Gateway
from services.serving.gateway.door import ROUTES, Door
from services.serving.gateway.limits import Limits
from services.serving.loading import Demands
from services.serving.memory import Memory
from services.serving.probe_token import ProbeTokens
from services.serving.replica import NoRules, Replica, ReplicaSettings
from services.serving.suppression.keeper import RuleKeeper
from services.serving.suppression.shield import Shield
from services.settings import Settings, load_settings
from services.store.engine import Store

lifeline.hold()  # at import: BentoML's own supervisor imports this module too, and must not outlive ours
_LOG = logging.getLogger(__name__)
settings = load_settings()
_GATEWAY = Gateway()
# BentoML's own limits lie beyond the gateway's, since their refusals are not in OpenAI's form.
_TIMEOUT_S = settings.serving.body_timeout_s + settings.serving.request_timeout_s + 30


def _open_store() -> Store:
    return open_installation(settings).open_store(with_keys=False)


def build_replica(settings: Settings, store: Store, replica_id: str) -> tuple[Replica, Shield | None]:
    """The replica of this process, for the base of this host, and what screens its answers.

    Raises:
        LetheError: ``base.not_found``, ``base.no_chat_template``, ``release.weights``, ``installation.incomplete``.
    """
    base, dtype = base_directory(settings), serving_dtype(settings)
    identity, serving = base_identity(base, dtype=dtype), settings.serving
    engine = make_engine(settings, base, dtype)
    rules: RuleKeeper | NoRules = NoRules()
    shield = None
    if serving.suppression:
        key = sealing.load_suppression_key(settings)
        shield = Shield(key, base)
        rules = RuleKeeper(store, identity.base_digest, key, shield)
    demands = Demands(
        identity=identity,
        base_shapes=base_linear_shapes(base),
        releases=settings.home / "releases",
        trust_path=keys.trust_path(settings),
        floor=floor_of(serving.floor),
        max_rank=max_rank(serving),
        canary_tolerance=serving.canary_tolerance,
    )
    replica = Replica(
        ReplicaSettings(
            replica_id=replica_id,
            demands=demands,
            lease_s=serving.lease_s,
            drain_timeout_s=serving.drain_timeout_s,
            canary_share=serving.canary_share if serving.trial_s else 0.0,
            shadow_share=serving.shadow_share if serving.trial_s else 0.0,
        ),
        store,
        engine,
        Memory(settings.home / "serving" / replica_id, identity.base_digest),
        Changes(settings.store_url),
        rules=rules,
        address=serving.address or serving.url,
        about=lambda: {} if engine.about is None else asdict(engine.about),
        trial=lambda: _GATEWAY.trials.of(replica.alias.trial),
    )
    return replica, shield


@bentoml.service(
    name="lethe-serving",
    workers=1,  # one alias, one engine: scale by replicas
    traffic={"timeout": _TIMEOUT_S},
    http={"host": settings.serving.host, "port": settings.serving.port},
    tracing=telemetry.GATEWAY_TRACING,
    metrics=telemetry.NO_BENTOML_METRICS,
)
@bentoml.asgi_app(_GATEWAY, path="/")
class Serving:
    """OpenAI's protocol over the released adapter; not ready until that is verified, loaded and probed."""

    def __init__(self) -> None:
        self._telemetry = telemetry.setup("lethe-serving", settings)
        self._role = hold_role(settings, "serving")
        self._store: Store | None = None
        self._replica: Replica | None = None
        self._starting: asyncio.Task[None] | None = None

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def begin(self) -> None:
        """Start following the desired state, in the background: /livez answers meanwhile."""
        self._starting = asyncio.create_task(self._begin())

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def end(self) -> None:
        """Stop the replica and its engine."""
        if self._starting is not None:
            self._starting.cancel()
        if self._replica is not None:
            await self._replica.stop()
        if self._store is not None:
            self._store.close()
        await asyncio.to_thread(self._telemetry.shutdown)

    async def __is_ready__(self) -> bool:
        return self._replica is not None and self._replica.ready

    async def _begin(self) -> None:
        """Until there is a base and a store, try again: `lethe up` may start this service before they are made."""
        shield: Shield | None = None
        while self._replica is None:
            try:
                if self._store is None:
                    self._store = await asyncio.to_thread(_open_store)
                store: Store = self._store
                self._replica, shield = await asyncio.to_thread(build_replica, settings, store, _replica_id())
            except Exception as error:  # whatever it is, a replica that does not try again would never serve
                _LOG.warning("cannot serve yet: %s", getattr(error, "code", type(error).__name__))
                await asyncio.sleep(1.0)
        serving = settings.serving
        _GATEWAY.attach(self._replica, names=serving.model_names, limits=Limits.of(serving), shield=shield)
        observe_replica(_replica_id(), self._replica)
        telemetry.observe("lethe.requests.waiting", lambda: [(_GATEWAY.waiting, {})])
        self._replica.start()
        gc.freeze()  # what is there now stays: looking through all of it again would stop every stream for a moment


def _replica_id() -> str:
    """The pod's name in Kubernetes, the host's otherwise; SQLite allows one replica a host."""
    return os.environ.get("HOSTNAME") or socket.gethostname()


_service: Any = Serving
_service.add_asgi_middleware(telemetry.HttpMetrics, routes=tuple(ROUTES))
_service.add_asgi_middleware(Door, open_store=_open_store, probes=ProbeTokens(_replica_id(), keys.trust_path(settings)))
_service.add_asgi_middleware(telemetry.MetricsPage)
