"""Values of the three services and of the Jobs."""

from pydantic import Field

from charts.values.kinds import CRON, Extra, Gpu, Group, KubernetesList, Labels, Name, Quantity, Resources, Scheduling


class Ingress(Group):
    """How clients outside the cluster reach a service."""

    enabled: bool = Field(False, description="Make an Ingress.")
    class_name: Name = Field("", description="IngressClass.")
    host: Name = Field("", description="Host name.")
    paths: list[str] = Field(
        default_factory=lambda: ["/v1"],
        min_length=1,
        description="What is reached by it; the intake has `/console` (people), `/request` (the form) and, with "
        "`config.protocols.domain`, `/opendsr/v2` and `/opengdpr/v1` too.",
    )
    tls_secret: Name = Field("", description="Secret with the certificate; empty: none, TLS ends before.")
    annotations: Labels = Field(default_factory=dict, description="Annotations of the Ingress.")


class Autoscaling(Group):
    """A HorizontalPodAutoscaler on CPU."""

    enabled: bool = Field(False, description="Make one; `replicas` no longer counts.")
    min_replicas: int = Field(2, ge=1, description="At least.")
    max_replicas: int = Field(4, ge=1, description="At most.")
    target_cpu: int = Field(70, ge=1, le=100, description="Average CPU utilisation to aim at, in percent of requests.")


def _small() -> Resources:
    return Resources(requests={"cpu": "250m", "memory": "1Gi"}, limits={"cpu": "2", "memory": "2Gi"})


class Intake(Group):
    """The ticket API and the control loop."""

    replicas: int = Field(1, ge=1, description="Pods.")
    autoscaling: Autoscaling = Field(default_factory=Autoscaling)
    resources: Resources = Field(default_factory=_small, description="Of the container.")
    ingress: Ingress = Field(default_factory=Ingress)
    grace_seconds: int = Field(30, ge=1, description="How long open requests may go on when a pod ends.")
    scheduling: Scheduling = Field(default_factory=Scheduling)
    extra: Extra = Field(default_factory=Extra)


class Keda(Group):
    """Scaling by runs that wait or are worked on, down to none (KEDA must be in the cluster)."""

    enabled: bool = Field(False, description="Make a ScaledObject; `replicas` no longer counts.")
    max_replicas: int = Field(1, ge=1, description="At most; more than there are bases are never busy.")
    polling_seconds: int = Field(15, ge=1, description="How often the runs are counted.")
    cooldown_seconds: int = Field(300, ge=0, description="How long nothing must be there before the last pod goes.")


class Unlearning(Group):
    """The worker that takes runs, one GPU each."""

    replicas: int = Field(1, ge=0, description="Pods.")
    keda: Keda = Field(default_factory=Keda)
    gpu: Gpu = Field(default_factory=Gpu)
    resources: Resources = Field(
        default_factory=lambda: Resources(
            requests={"cpu": "2", "memory": "16Gi"}, limits={"cpu": "8", "memory": "32Gi"}
        ),
        description="Of the container, runner included.",
    )
    shm_size: Quantity = Field("2Gi", description="Size of /dev/shm.")
    grace_seconds: int = Field(30, ge=1, description="How long it may take to let go of a run; others resume it.")
    scheduling: Scheduling = Field(default_factory=Scheduling)
    extra: Extra = Field(default_factory=Extra)


class Engine(Group):
    """The engine beside each gateway; which one is `config.serving.engine`."""

    gpu: Gpu = Field(default_factory=Gpu)
    resources: Resources = Field(
        default_factory=lambda: Resources(
            requests={"cpu": "2", "memory": "16Gi"}, limits={"cpu": "8", "memory": "32Gi"}
        ),
        description="Of the engine's container.",
    )
    shm_size: Quantity = Field("2Gi", description="Size of /dev/shm.")
    startup_seconds: int = Field(1800, ge=30, description="How long the model may take to load.")
    env: KubernetesList = Field(default_factory=list, description="More environment variables of the engine.")


class Serving(Group):
    """Gateways, each with its engine."""

    replicas: int = Field(1, ge=1, description="Pods.")
    max_surge: int | str = Field(
        1, description="Pods above `replicas` during a rollout; they need GPUs of their own, and none ever goes first."
    )
    engine: Engine = Field(default_factory=Engine)
    resources: Resources = Field(default_factory=_small, description="Of the gateway's container.")
    ingress: Ingress = Field(default_factory=Ingress)
    pre_stop_seconds: int = Field(10, ge=0, description="A pod that ends still answers for this long: routes go first.")
    drain_seconds: int = Field(300, ge=1, description="How long answers under way may go on after that.")
    max_skew: int = Field(1, ge=1, description="Of replicas over nodes and zones (topology spread).")
    scheduling: Scheduling = Field(default_factory=Scheduling)
    extra: Extra = Field(default_factory=Extra)


class Migrations(Group):
    """The hook that brings the databases to this version before anything else starts."""

    enabled: bool = Field(True, description="Run it as a hook; off: run `lethe migrate` yourself before each upgrade.")
    deadline_seconds: int = Field(600, ge=30, description="It fails after this.")
    resources: Resources = Field(default_factory=_small, description="Of its container.")


class Lineage(Group):
    """The Job that makes release 0 of the base: what is served before any erasure."""

    enabled: bool = Field(True, description="Make the Job.")
    backoff_limit: int = Field(6, ge=0, description="How often it is tried again.")
    gpu: Gpu = Field(
        default_factory=lambda: Gpu(count=0), description="For canaries of a base that is too large for a CPU."
    )
    resources: Resources = Field(
        default_factory=lambda: Resources(
            requests={"cpu": "1", "memory": "8Gi"}, limits={"cpu": "8", "memory": "32Gi"}
        ),
        description="Of its container; the base is loaded once.",
    )
    scheduling: Scheduling = Field(default_factory=Scheduling)


class AuditCheck(Group):
    """The CronJob that signs the audit log to its end, exports it and checks every entry."""

    enabled: bool = Field(True, description="Make the CronJob.")
    schedule: str = Field(
        "17 3 * * *",
        pattern=CRON,
        description="When, as cron says it (UTC); after two days without one an alert comes.",
    )
    resources: Resources = Field(default_factory=_small, description="Of its container.")
