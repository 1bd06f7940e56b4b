"""Values of what Lethe meets in the cluster: database, keys, disks, network, monitoring."""

from pydantic import Field

from charts.values.kinds import CRON, ExternalSecret, Group, Image, KubernetesList, Labels, Name, Quantity


class Database(Group):
    """PostgreSQL, which the chart does not bring but for trying out (`tryout`)."""

    existing_secret: Name = Field("", description="Secret with the addresses below.")
    store_key: str = Field("store-url", min_length=1, description="Its key with `store.url` (postgresql+psycopg://…).")
    jobs_key: str = Field("jobs-url", min_length=1, description="Its key with `jobs.url`, a database of its own.")
    keda_key: str = Field("keda-url", min_length=1, description="Its key with postgresql://… that may read `runs`.")
    external_secret: ExternalSecret = Field(default_factory=ExternalSecret)


class Keys(Group):
    """Lethe's own keys: made once by `lethe init` on a safe machine, never by the chart."""

    existing_secret: Name = Field(
        "", description="Secret with kek, lookup, digest, suppression, trust.json and the three .pem files."
    )
    external_secret: ExternalSecret = Field(default_factory=ExternalSecret)
    revision: str = Field("", description="Change it after keys were rotated: pods that copied them are replaced.")


class Claim(Group):
    """A disk that several pods share."""

    existing_claim: Name = Field("", description="PersistentVolumeClaim that is there; empty: the chart makes one.")
    size: Quantity = Field("20Gi", description="Of the one that the chart makes; it is kept when the chart goes.")
    storage_class: Name = Field("", description="Its StorageClass; empty: the cluster's default.")
    access_modes: list[str] = Field(
        default_factory=lambda: ["ReadWriteMany"],
        min_length=1,
        description="ReadWriteMany, or ReadWriteOnce where everything runs on one node.",
    )


class Storage(Group):
    """The installation's directories, on disks that its pods share."""

    bases: Claim = Field(
        default_factory=lambda: Claim(size="100Gi"), description="Models, at /var/lib/lethe/bases; serving reads it."
    )
    releases: Claim = Field(
        default_factory=Claim, description="Released adapters, at /var/lib/lethe/releases; serving reads it."
    )
    work: Claim = Field(
        default_factory=lambda: Claim(size="50Gi"),
        description="Corpus, subject index, checkpoints and reports, at /var/lib/lethe; serving never sees it.",
    )


class Push(Group):
    """The CronJob that copies releases, and the signed statement of what was served last, to the object store."""

    enabled: bool = Field(True, description="Make the CronJob.")
    schedule: str = Field("*/15 * * * *", pattern=CRON, description="When, as cron says it (UTC).")


class Fetch(Group):
    """The Job that copies what the disk lacks from the object store: to a cluster that is set up anew."""

    enabled: bool = Field(False, description="Make the Job.")


class ObjectStore(Group):
    """A bucket with copies of the releases; services read `storage.releases` alone."""

    url: str = Field(
        "",
        pattern=r"^$|^[a-z0-9]+://[^\s@]+$",
        description="Its address, e.g. s3://bucket/lethe; empty: there is none.",
    )
    endpoint: str = Field(
        "", pattern=r"^$|^https?://[^\s@]+$", description="Of a server that is not AWS (AWS_ENDPOINT_URL)."
    )
    region: str = Field("", description="Its region (AWS_DEFAULT_REGION).")
    existing_secret: Name = Field("", description="Secret with the access key; empty: the ServiceAccount has a role.")
    id_key: str = Field("access-key-id", min_length=1, description="Its key with AWS_ACCESS_KEY_ID.")
    secret_key: str = Field("secret-access-key", min_length=1, description="Its key with AWS_SECRET_ACCESS_KEY.")
    service_account_annotations: Labels = Field(
        default_factory=dict, description="Of the ServiceAccount that pushes and fetches, such as the role's name."
    )
    push: Push = Field(default_factory=Push)
    fetch: Fetch = Field(default_factory=Fetch)


class TryoutPostgresql(Group):
    """One PostgreSQL without backup or replica, and one password for both databases: never for production."""

    enabled: bool = Field(False, description="Run it, in place of the one that `database` names.")
    existing_secret: Name = Field("", description="Secret with the password you chose: letters and digits.")
    password_key: str = Field("password", min_length=1, description="Its key in the Secret.")
    image: Image = Field(default_factory=lambda: Image(repository="postgres", tag="17.6"), description="PostgreSQL.")
    size: Quantity = Field("5Gi", description="Of its disk, which goes with the release.")
    storage_class: Name = Field("", description="Its StorageClass; empty: the cluster's default.")


class Tryout(Group):
    """What makes the chart whole for trying it out."""

    postgresql: TryoutPostgresql = Field(default_factory=TryoutPostgresql)


class PodSecurity(Group):
    """Whose process it is; the rest of PodSecurity's *restricted* profile is fixed."""

    run_as_user: int = Field(
        1034,
        ge=1,
        description="User; 1034 is that of images made by `bentoml containerize`, others need files that all may read.",
    )
    run_as_group: int = Field(1034, ge=1, description="Group.")
    fs_group: int = Field(1034, ge=1, description="Group of the volumes.")


class NetworkPolicy(Group):
    """Nothing passes that is not named."""

    enabled: bool = Field(True, description="Deny everything, then open what is needed.")
    database_to: KubernetesList = Field(
        default_factory=list, description="Peers that are PostgreSQL (NetworkPolicyPeer). Needed."
    )
    database_port: int = Field(5432, ge=1, le=65535, description="Its port.")
    dns_to: KubernetesList = Field(
        default_factory=lambda: [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
                "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
            }
        ],
        description="Peers that answer DNS.",
    )
    intake_from: KubernetesList = Field(
        default_factory=list, description="Peers that may file and decide tickets (the ingress controller)."
    )
    intake_to: KubernetesList = Field(
        default_factory=list,
        description="More openings of the intake, each with `to` and `ports`: mail server, identity provider, "
        "callbacks, databases of `deletion`.",
    )
    serving_from: KubernetesList = Field(default_factory=list, description="Peers that may ask the model.")
    metrics_from: KubernetesList = Field(default_factory=list, description="Peers that read metrics (Prometheus).")
    augmenter_to: KubernetesList = Field(
        default_factory=list, description="Peers that are the language model of `config.augmenter`."
    )
    augmenter_port: int = Field(443, ge=1, le=65535, description="Its port.")
    telemetry_to: KubernetesList = Field(default_factory=list, description="Peers that are the OTLP collector.")
    telemetry_port: int = Field(4318, ge=1, le=65535, description="Its port.")
    object_store_to: KubernetesList = Field(default_factory=list, description="Peers that are the object store.")
    object_store_port: int = Field(443, ge=1, le=65535, description="Its port.")


class Rules(Group):
    """Alerts (PrometheusRule)."""

    enabled: bool = Field(False, description="Make a PrometheusRule.")
    labels: Labels = Field(default_factory=dict, description="Labels by which Prometheus finds it.")
    deadline_seconds: int = Field(259200, ge=0, description="Alert when a ticket's deadline is nearer than this.")
    behind: str = Field("5m", pattern=r"^[0-9]+(s|m|h)$", description="How long generations may differ.")


class ServiceMonitor(Group):
    """How Prometheus finds the pods."""

    enabled: bool = Field(False, description="Make a ServiceMonitor.")
    labels: Labels = Field(default_factory=dict, description="Labels by which Prometheus finds it.")
    interval: str = Field("30s", pattern=r"^[0-9]+(s|m|h)$", description="How often metrics are read.")


class Dashboard(Group):
    """The Grafana dashboard, in a ConfigMap."""

    enabled: bool = Field(False, description="Make the ConfigMap.")
    labels: Labels = Field(
        default_factory=lambda: {"grafana_dashboard": "1"}, description="Labels by which Grafana's sidecar finds it."
    )


class Metrics(Group):
    """Monitoring; /metrics answers nobody without a key that has the scope ops:read."""

    token_secret: Name = Field(
        "", description="Secret with such a key (`lethe key create --name prometheus --scope ops:read`)."
    )
    token_key: str = Field("token", min_length=1, description="Its key in the Secret.")
    service_monitor: ServiceMonitor = Field(default_factory=ServiceMonitor)
    rules: Rules = Field(default_factory=Rules)
    dashboard: Dashboard = Field(default_factory=Dashboard)


class Rotation(Group):
    """Who may rotate keys: read and change the named Secret, restart the named workloads, and nothing else."""

    subjects: KubernetesList = Field(default_factory=list, description="Subjects of the RoleBinding; empty: no Role.")


class Tests(Group):
    """`helm test`."""

    enabled: bool = Field(True, description="Make the test pod: services are ready, and answer nobody without a key.")


class Mail(Group):
    """The password of `config.mail`."""

    existing_secret: Name = Field("", description="Secret with it.")
    key: str = Field("password", min_length=1, description="Its key in the Secret.")


class Oidc(Group):
    """The client's secret of `config.oidc`."""

    existing_secret: Name = Field("", description="Secret with it.")
    key: str = Field("client-secret", min_length=1, description="Its key in the Secret.")


class Deletion(Group):
    """Sources of records beside the corpus (`deletion.sources`): their addresses hold passwords."""

    existing_secret: Name = Field("", description="Secret with the sources as JSON, by name.")
    key: str = Field("sources", min_length=1, description="Its key in the Secret.")


class Augmenter(Group):
    """The key of the language model of `config.augmenter`."""

    existing_secret: Name = Field("", description="Secret with it.")
    key: str = Field("api-key", min_length=1, description="Its key in the Secret.")
