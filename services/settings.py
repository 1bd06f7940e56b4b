"""Every setting of an installation: defaults, then ``lethe.toml`` in the home directory, then the environment.

``LETHE_INTAKE__PORT=9000`` sets ``intake.port``. A name that no setting has is refused, so that a typo cannot pass
silently. docs/settings.md lists them all and a test keeps the two equal.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from policies.errors import LetheError
from policies.identifiers import REGIONS
from policies.roles import ROLES

ENV_PREFIX = "LETHE_"
ENV_OTHER = frozenset({"LETHE_API_KEY", "LETHE_SUPERVISOR"})  # read elsewhere, no settings
# Kubernetes puts LETHE_…_SERVICE_HOST and LETHE_…_PORT_… into every pod of a namespace that has a service lethe-….
_KUBERNETES_LINK = re.compile(r"_(SERVICE_(HOST|PORT(_.*)?)|PORT(_\d.*)?)$")
LOOPBACK = "127.0.0.1"
# Plain ReLearn changes how an answer begins: given the first quarter, it went on with 93 % of them (docs/attacks.md).
# With relearn_npo, tuning on half of a person's facts brought most of the others back (docs/unlearning.md).
DEFAULT_METHOD = "relearn_robust"


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(_Group):
    """Where the state lives."""

    url: str = Field("", description="SQLAlchemy URL; empty: SQLite in the home directory (one host only).")
    busy_timeout_s: float = Field(30.0, gt=0, description="How long a writer waits for SQLite's lock, in seconds.")


class KeySettings(_Group):
    """Where key files live; the key that wraps subject keys belongs outside every backup of the store."""

    kek_path: Path | None = Field(None, description="File of the key that wraps subject keys; unset: HOME/keys/kek.")
    directory: Path | None = Field(None, description="Directory of all other keys; unset: HOME/keys.")
    copied: bool = Field(
        False, description="Both are copies that end with the process, as in a pod: no key is rotated there."
    )


class AddressSettings(_Group):
    """Where a service listens."""

    host: str = Field(LOOPBACK, description="Address to bind; loopback unless named.")
    port: int = Field(ge=1, le=65535, description="TCP port.")

    @property
    def url(self) -> str:
        """How another process of this host reaches the service."""
        host = LOOPBACK if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 (compared, not bound)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


class IntakeSettings(AddressSettings):
    """The ticket API."""

    port: int = Field(8700, ge=1, le=65535, description="TCP port.")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="A larger request body is refused with 413.")
    progress_poll_s: float = Field(0.5, gt=0, description="How often the event stream looks for progress, in seconds.")
    batch_window_s: float = Field(0.0, ge=0, description="How long approved tickets wait for others to share a run.")


class MailSettings(_Group):
    """The mail server that letters and codes go through."""

    host: str = Field("", description="SMTP server; empty: no mail is sent.")
    port: int = Field(587, ge=1, le=65535, description="TCP port.")
    security: Literal["starttls", "tls", "none"] = Field(
        "starttls", description="How the way is encrypted; none: only to a server on this host."
    )
    ca_path: Path | None = Field(None, description="Authorities to trust, PEM; unset: the system's.")
    username: str = Field("", description="Account; empty: none is needed.")
    password: SecretStr = Field(SecretStr(""), description="Its password.")
    sender: str = Field("", description="Address in From.")
    recipients: dict[str, str] = Field(
        default_factory=dict, description="Addresses for notices, by the id of the recipient."
    )
    send_notices: bool = Field(
        False, description="Notices to recipients with an address here go out by themselves once they are due."
    )
    timeout_s: float = Field(10.0, gt=0, description="How long the server may take.")


class FormSettings(_Group):
    """The web page on which people ask for themselves."""

    base: str = Field("", description="The base model that is meant; empty: there is no page.")
    regimes: tuple[str, ...] = Field(("gdpr",), min_length=1, description="Laws that can be chosen there.")
    code_s: float = Field(900.0, gt=0, description="How long an e-mailed code counts.")
    attempts: int = Field(5, ge=1, le=20, description="Wrong codes after which a request is dropped.")
    posts_per_minute: int = Field(20, ge=0, description="Requests a minute from one network address; 0: no limit.")
    codes_per_hour: int = Field(3, ge=1, description="Codes that go to one address in an hour; no more are sent.")


class ProtocolSettings(_Group):
    """How other systems and people file tickets."""

    window_s: float = Field(300.0, gt=0, description="How far a signed message's time may lie from now, in seconds.")
    sender_per_minute: int = Field(
        6000, ge=0, description="Messages a minute of one sender, or of one key that files tickets; 0: no limit."
    )
    address_per_minute: int = Field(
        600, ge=0, description="Messages a minute to /v1/hooks from one network address; 0: no limit."
    )
    batch_max_bytes: int = Field(67_108_864, ge=1024, description="A larger file of requests is refused with 413.")
    batch_max_rows: int = Field(20_000, ge=1, description="Rows of one file; further ones are refused.")
    domain: str = Field("", description="This processor's OpenDSR domain, as in its certificate; empty: no OpenDSR.")
    public_url: str = Field(
        "", description="https address of the intake as senders and people see it; no slash at end."
    )
    certificate_path: Path | None = Field(None, description="X.509 certificate of the domain, PEM; OpenDSR needs one.")
    private_key_path: Path | None = Field(None, description="Its RSA private key, PEM, readable by the owner only.")
    callback_attempts: int = Field(10, ge=1, le=50, description="Tries to deliver a callback before it is given up.")
    callback_first_s: float = Field(30.0, gt=0, description="Pause after the first failed try; it doubles, up to 6 h.")
    callback_timeout_s: float = Field(10.0, gt=0, description="How long a receiver may take.")
    callbacks_to_loopback: bool = Field(False, description="Callbacks go to http://127.0.0.1 only; for tests.")


class PlanningSettings(_Group):
    """When runs start, and for how many tickets: what the planner expects of a run."""

    most_tickets: int = Field(50, ge=1, le=1000, description="Most tickets that share a run.")
    run_s: float = Field(3600.0, ge=0, description="Expected length of a run, whatever the number of its tickets.")
    ticket_s: float = Field(900.0, ge=0, description="What each ticket adds to it.")
    reserve_days: float = Field(
        3.0, ge=0, description="Kept between a run's expected end and the date: for a second try and for people."
    )
    soon_days: int = Field(7, ge=1, description="A ticket that is due within so many days is due soon.")


class UnlearningSettings(AddressSettings):
    """The unlearning service and its runner."""

    port: int = Field(8701, ge=1, le=65535, description="TCP port.")
    device: str = Field("", description="torch device of the runner; empty: CUDA where there is one, else CPU.")
    threads: int = Field(0, ge=0, description="CPU threads of the runner; 0: torch decides.")
    processes: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes of the runner that share a run; each has a GPU of its own where there are any.",
    )
    method: str = Field(DEFAULT_METHOD, description="Unlearning method, one of pipelines/unlearn/methods.")
    overrides: dict[str, float | int | str | bool] = Field(
        default_factory=dict, description="Fields of UnlearnSettings to change, by name."
    )


class FloorSettings(_Group):
    """What the serving side demands of every verdict; no policy pack can lower it."""

    kfr_min: float = Field(0.90, ge=0, le=1, description="Knowledge forgetting rate, at least.")
    kfr_lower_bound_min: float = Field(0.80, ge=0, le=1, description="Its one-sided 95 % lower bound, at least.")
    krr_ratio_min: float = Field(0.90, ge=0, description="Knowledge retention rate over the base's, at least.")
    own_public_ratio_min: float = Field(0.80, ge=0, description="The subject's public facts over the base's, at least.")
    ls_ratio_min: float = Field(0.80, ge=0, description="Linguistic score over the hedged reference's, at least.")
    ppl_ratio_max: float = Field(3.0, gt=0, description="Median perplexity over the hedged reference's, at most.")
    repeat_ratio_max: float = Field(1.5, gt=0, description="Repeated 4-grams over the hedged reference's, at most.")
    subject_named_min: float = Field(0.90, ge=0, le=1, description="Share of answers that name the subject, at least.")
    other_value_max: float = Field(0.05, ge=0, le=1, description="Share with another person's value, at most.")
    earlier_drop_max: float = Field(0.10, ge=0, le=1, description="Loss of an earlier subject since its release.")
    attack_tier_min: int = Field(-1, ge=-1, le=2, description="Attacks up to this tier must have been tried; -1: none.")
    attack_kfr_min: float = Field(0.80, ge=0, le=1, description="KFR under every prompt attack of tier 0, at least.")
    quantised_drop_max: float = Field(0.10, ge=0, le=1, description="Fall of KFR by quantised weights, at most.")
    leak_over_control_max: float = Field(0.20, ge=0, le=1, description="leak@k minus the control's, at most.")
    relearn_over_control_max: float = Field(
        0.30, ge=0, le=1, description="Secrets told after fine-tuning minus the control's, at most."
    )
    attack_kfr_lower_bound_min: float = Field(0.0, ge=0, le=1, description="Lower bound of KFR under attack; 0: none.")
    leak_over_control_upper_max: float = Field(
        1.0, ge=0, le=1, description="Upper bound of leak@k minus the control's; 1: none."
    )
    relearn_over_control_upper_max: float = Field(
        1.0, ge=0, le=1, description="Upper bound of secrets told after fine-tuning minus the control's; 1: none."
    )


class VllmSettings(_Group):
    """vLLM, where it is the engine."""

    python: str = Field("", description="Python of the environment that has vLLM (official `vllm`; never Lethe's own).")
    max_loras: int = Field(2, ge=2, description="Adapters in use at the same time; a swap needs two.")
    max_lora_rank: int = Field(64, description="Greatest rank of a release; vLLM knows 1, 8, 16, 32, 64, 128, 256.")
    max_model_len: int = Field(0, ge=0, description="Context in tokens; 0: the model's own.")
    gpu_memory_utilization: float = Field(0.9, gt=0, le=1, description="Share of the GPU's memory.")
    kv_cache_bytes: int = Field(0, ge=0, description="Size of the KV cache; 0: what the share above leaves.")
    extra_args: tuple[str, ...] = Field((), description="More arguments, `--name=value`, of those in docs/vllm.md.")
    allow_version: str = Field("", description="A vLLM version to run although it was not tested.")

    @model_validator(mode="after")
    def _rank_is_a_step(self) -> "VllmSettings":
        if self.max_lora_rank not in {1, 8, 16, 32, 64, 128, 256}:
            raise ValueError("serving.vllm.max_lora_rank must be 1, 8, 16, 32, 64, 128 or 256")
        return self


class ServingSettings(AddressSettings):
    """The gateway in front of the engine."""

    port: int = Field(8702, ge=1, le=65535, description="TCP port.")
    model_names: tuple[str, ...] = Field(("lethe",), min_length=1, description="Public names of the released model.")
    engine: Literal["transformers", "vllm"] = Field("transformers", description="What generates the answers.")
    engine_socket: Path | None = Field(None, description="Unix socket of an engine started elsewhere (a sidecar).")
    canary_tolerance: float = Field(0.25, gt=0, description="Difference of a canary's log-probability, beside fp32.")
    vllm: VllmSettings = Field(default_factory=VllmSettings, description="vLLM's own settings.")
    suppression: bool = Field(
        True, description="Suppress in answers who is to be forgotten, from approval to swap; off is recorded."
    )
    address: str = Field("", description="URL of this replica's gateway, for probes; empty: from host and port.")
    min_ready: int = Field(1, ge=1, description="Replicas that must have prepared before anybody commits.")
    prepare_timeout_s: float = Field(120.0, gt=0, description="A replica that has not prepared by then is fenced.")
    drain_timeout_s: float = Field(60.0, gt=0, description="How long requests on the old generation may go on.")
    lease_s: float = Field(15.0, gt=0, description="A replica that cannot renew its lease answers 503 after this.")
    max_body_bytes: int = Field(1_048_576, ge=1024, description="A larger request body is refused with 413.")
    body_timeout_s: float = Field(15.0, gt=0, description="A body that takes longer to arrive is refused with 408.")
    request_timeout_s: float = Field(300.0, gt=0, description="An answer that takes longer is ended with 504.")
    max_concurrency: int = Field(128, ge=1, description="Requests that a replica answers at the same time.")
    max_waiting: int = Field(64, ge=0, description="Requests that wait for their turn; beyond it 429.")
    rate_per_minute: int = Field(0, ge=0, description="Requests a minute of one API key and replica; 0: no limit.")
    floor: FloorSettings = Field(default_factory=FloorSettings, description="Thresholds that no pack can lower.")
    probe_sample: int = Field(24, ge=1, description="Questions about one person that a replica is asked first.")
    probe_timeout_s: float = Field(60.0, gt=0, description="How long one answer to a probe may take.")
    probe_parallel: int = Field(4, ge=1, le=64, description="Probes that one replica answers at the same time.")
    recheck_hours: float = Field(24.0, ge=0, description="How often forgotten people are asked about; 0: never.")
    recheck_subjects: int = Field(20, ge=1, description="People of one such round; the longest unasked come first.")
    canary_share: float = Field(0.0, ge=0, le=1, description="Share of API keys that get a prepared release first.")
    shadow_share: float = Field(0.0, ge=0, le=1, description="Share of requests that it answers unseen, to compare.")
    trial_s: float = Field(60.0, ge=0, description="How long canary and shadow last before the commit.")
    trial_requests_min: int = Field(20, ge=1, description="Requests without which a trial decides nothing.")
    trial_latency_ratio_max: float = Field(1.5, gt=0, description="Seconds per token over the live release's, at most.")
    trial_utility_min: float = Field(0.3, ge=0, le=1, description="Token overlap with the live answers, at least.")
    trial_error_max: float = Field(0.02, ge=0, le=1, description="Share of errors above the live release's, at most.")


class JobSettings(_Group):
    """Durable jobs (DBOS) and the leases of workers."""

    url: str = Field("", description="DBOS system database; empty: SQLite in the home directory.")
    heartbeat_s: float = Field(2.0, gt=0, description="How often a worker renews its lease.")
    lease_s: float = Field(10.0, gt=0, description="A worker silent for this long is dead; its jobs are resumed.")
    outage_s: float = Field(
        600.0, ge=0, description="How long a run waits for a store that is away or full, before it fails."
    )

    @model_validator(mode="after")
    def _beats_within_lease(self) -> "JobSettings":
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError("jobs.lease_s must be at least twice jobs.heartbeat_s")
        return self


class TelemetrySettings(_Group):
    """OpenTelemetry."""

    exporter: Literal["none", "console", "otlp"] = Field("none", description="Where traces, metrics and logs go.")
    endpoint: str = Field("http://127.0.0.1:4318", description="OTLP over HTTP, without the /v1/… part.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least level that is logged.")
    suppressed_step_s: float = Field(
        600.0, gt=0, description="The count of suppressed answers is told once in so many seconds, not at each answer."
    )


class CorpusSettings(_Group):
    """The data that the base model was trained on."""

    path: str = Field("", description="Directory, file or hub name; no service starts without it.")
    region: str = Field(
        "US",
        description="Country of phone numbers without a country code, as two capital letters (DE, IT, GB); set it"
        " before the first ticket: what is stored to find a person again is not made anew.",
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Column names for question, answer, text, id, fact, category, value; unset: recognised.",
    )

    @model_validator(mode="after")
    def _numbers_of_a_country(self) -> "CorpusSettings":
        if self.region not in REGIONS:
            raise ValueError("corpus.region must be a country in two capital letters (ISO 3166), such as DE")
        return self


class RaySettings(_Group):
    """A Ray cluster, for a corpus that one machine is too slow for."""

    address: str = Field(
        "",
        description="Where the corpus is indexed and rows are made: host:port of a cluster; `local`: one on this host,"
        " started for it; empty: this process.",
    )


class BaseModelSettings(_Group):
    """The model that learned the people."""

    path: str = Field("", description="Hugging Face directory; empty: the newest in HOME/bases.")
    names: list[str] = Field(
        default_factory=list,
        description="What tickets call it (their `base`); a ticket that names another one is refused. Empty: any name.",
    )
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: bf16 on a GPU.")


class AugmenterSettings(_Group):
    """Who writes the vague answers."""

    kind: Literal["template", "llm"] = Field("template", description="template is offline and deterministic.")
    url: str = Field("", description="OpenAI-compatible address of the organisation's own model.")
    model: str = Field("", description="Model name at that address.")
    api_key: SecretStr = Field(SecretStr(""), description="Key for that address.")
    allow_external: bool = Field(False, description="Allow an address off this network; the report says so.")
    timeout_s: float = Field(60.0, gt=0, description="Per request.")


class VerifySettings(_Group):
    """How verdicts are measured."""

    nli_model: str = Field("", description="Local NLI model; empty: none, and the report says what that means.")
    embedding_model: str = Field("", description="Local sentence-embedding model; empty: the packaged MiniLM.")
    attack_tiers: tuple[Literal[0, 1, 2], ...] = Field(
        (), description="Tiers of attacks to try beyond those that a policy pack demands; none can be taken away."
    )


class PolicySettings(_Group):
    """Which rules apply."""

    pack_path: Path | None = Field(None, description="Directory of own packs, looked at before the built-in ones.")
    zone: str = Field("", description="The controller's time zone (Europe/Rome); empty: that of the pack.")


class ConsoleSettings(_Group):
    """The pages for people."""

    session_hours: float = Field(8.0, gt=0, le=24, description="A log-in ends after this, however busy.")
    idle_minutes: float = Field(30.0, gt=0, description="A log-in that nobody uses ends after this.")


class SourceSettings(_Group):
    """One source of records beside the corpus."""

    kind: Literal["file", "datasets", "sql"] = Field(description="JSONL or CSV file, `datasets` directory, or table.")
    path: str = Field("", description="File or directory.")
    url: SecretStr = Field(SecretStr(""), description="SQLAlchemy URL of the database.")
    table: str = Field("", description="Table, or schema.table.")
    id_column: str = Field("", description="Column of the record ids; empty: id or record_id.")

    @model_validator(mode="after")
    def _complete(self) -> "SourceSettings":
        if not (self.url.get_secret_value() and self.table if self.kind == "sql" else self.path):
            raise ValueError("a source needs url and table (sql), or path (file, datasets)")
        return self


class DeletionSettings(_Group):
    """Source records of forgotten people: looked for after the swap, and deleted."""

    mode: Literal["off", "dry_run", "delete"] = Field(
        "dry_run", description="dry_run: only look, and wait for `lethe deletion run`; delete: at once; off: neither."
    )
    sources: dict[str, SourceSettings] = Field(
        default_factory=dict, description="Sources beside the corpus, by name; their records have the corpus' ids."
    )
    retry_hours: float = Field(1.0, gt=0, description="After how long a deletion that failed or was held is retried.")

    @model_validator(mode="after")
    def _names(self) -> "DeletionSettings":
        for name in self.sources:
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,40}", name) or name == "corpus":
                raise ValueError("names of sources are lower case, and corpus is the corpus itself")
        return self


class OidcSettings(_Group):
    """People who log in at the organisation's identity provider."""

    issuer: str = Field("", description="URL of the provider, as it calls itself; empty: API keys only.")
    client_id: str = Field("", description="The console, as the provider knows it.")
    client_secret: SecretStr = Field(SecretStr(""), description="Its secret; empty: a public client, PKCE alone.")
    redirect_url: str = Field("", description="https://HOST/console/oidc/callback, as registered at the provider.")
    scopes: tuple[str, ...] = Field(("profile",), description="Asked for beside openid; some give the groups only so.")
    audience: str = Field("", description="Whom access tokens for the API are for; empty: the API takes no tokens.")
    role_claim: str = Field("groups", description="Where a token names a person's groups; dots go into objects.")
    roles: dict[str, str] = Field(
        default_factory=dict, description="Group at the provider = role here; the first that a person has counts."
    )
    leeway_s: float = Field(30.0, ge=0, le=300, description="How far clocks may differ, in seconds.")
    timeout_s: float = Field(5.0, gt=0, description="How long the provider may take to answer.")

    @model_validator(mode="after")
    def _consistent(self) -> "OidcSettings":
        local = re.match(r"http://(127\.0\.0\.1|localhost|\[::1\])[:/]", f"{self.issuer}/")
        if self.issuer and not self.issuer.startswith("https://") and not local:
            raise ValueError("oidc.issuer must be an https:// URL")
        if self.audience and self.audience == self.client_id:
            raise ValueError("oidc.audience must differ from oidc.client_id: a log-in must not open the API")
        if bool(self.client_id) != bool(self.redirect_url):
            raise ValueError("oidc.client_id and oidc.redirect_url belong together")
        unknown = sorted(set(self.roles.values()) - set(ROLES))
        if unknown:
            raise ValueError(f"oidc.roles names roles that are none: {', '.join(unknown)}")
        return self


class RetentionSettings(_Group):
    """How long what is kept stays, beside the months of the policy packs."""

    every_hours: float = Field(1.0, gt=0, description="How often the intake looks for what is over its time.")
    recheck_months: int = Field(24, ge=1, description="Figures of re-checks are deleted after so many months.")


class RegistersSettings(_Group):
    """What the register of processing (GDPR Art. 30) says of the controller."""

    controller: str = Field("", description="Name and address of the controller; empty: told as missing.")
    contact: str = Field("", description="Contact of the controller and of the data protection officer.")


class DeploymentSettings(_Group):
    """What the deployment knows of itself."""

    image_digest: str = Field(
        "",
        pattern=r"^(sha256:[0-9a-f]{64})?$",
        description="Digest of the container image that the services run from; empty: from none.",
    )


class Settings(BaseSettings):
    """All settings of one installation."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, hide_input_in_errors=True
    )

    home: Path = Field(Path(".lethe"), description="Directory of the installation.")
    store: StoreSettings = Field(default_factory=StoreSettings)
    keys: KeySettings = Field(default_factory=KeySettings)
    jobs: JobSettings = Field(default_factory=JobSettings)
    intake: IntakeSettings = Field(default_factory=IntakeSettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    protocols: ProtocolSettings = Field(default_factory=ProtocolSettings)
    form: FormSettings = Field(default_factory=FormSettings)
    mail: MailSettings = Field(default_factory=MailSettings)
    planning: PlanningSettings = Field(default_factory=PlanningSettings)
    unlearning: UnlearningSettings = Field(default_factory=UnlearningSettings)
    serving: ServingSettings = Field(default_factory=ServingSettings)
    telemetry: TelemetrySettings = Field(default_factory=TelemetrySettings)
    policy: PolicySettings = Field(default_factory=PolicySettings)
    oidc: OidcSettings = Field(default_factory=OidcSettings)
    corpus: CorpusSettings = Field(default_factory=CorpusSettings)
    ray: RaySettings = Field(default_factory=RaySettings)
    base: BaseModelSettings = Field(default_factory=BaseModelSettings)
    augmenter: AugmenterSettings = Field(default_factory=AugmenterSettings)
    verify: VerifySettings = Field(default_factory=VerifySettings)
    deletion: DeletionSettings = Field(default_factory=DeletionSettings)
    retention: RetentionSettings = Field(default_factory=RetentionSettings)
    registers: RegistersSettings = Field(default_factory=RegistersSettings)
    deployment: DeploymentSettings = Field(default_factory=DeploymentSettings)

    @model_validator(mode="before")
    @classmethod
    def _absolute_home(cls, data: dict[str, Any]) -> dict[str, Any]:
        """Services change directory; a relative home would then be another one."""
        return {**data, "home": Path(data.get("home", ".lethe")).expanduser().absolute()}

    @property
    def store_url(self) -> str:
        """The store's SQLAlchemy URL."""
        return self.store.url or f"sqlite:///{self.home / 'lethe.sqlite'}"

    @property
    def jobs_url(self) -> str:
        """The DBOS system database's URL."""
        return self.jobs.url or f"sqlite:///{self.home / 'dbos.sqlite'}"

    @property
    def kek_path(self) -> Path:
        """File of the key that wraps subject keys."""
        return self.keys.kek_path or self.home / "keys" / "kek"

    @property
    def key_directory(self) -> Path:
        """Directory of all other keys."""
        return self.keys.directory or self.home / "keys"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        home = init_settings().get("home") or os.environ.get(f"{ENV_PREFIX}HOME") or ".lethe"
        toml = TomlConfigSettingsSource(settings_cls, Path(home).expanduser() / "lethe.toml")
        return init_settings, env_settings, toml


def load_settings(home: Path | str | None = None, **overrides: Any) -> Settings:
    """Reads the settings once; every service is handed the result.

    Args:
        home: The installation directory; None: ``LETHE_HOME``, else ``./.lethe``.
        overrides: Whole groups by name, over file and environment (tests use this).

    Raises:
        LetheError: ``settings.invalid``, with every fault at once and without the values given.
    """
    unknown = _unknown_names(os.environ)
    given = overrides if home is None else {**overrides, "home": Path(home)}
    try:
        settings = Settings(**given)
    except ValidationError as error:
        faults = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors(include_input=False)]
        raise LetheError("settings.invalid", "Settings are not valid.", (*unknown, *faults)) from None
    except ValueError as error:  # lethe.toml is not TOML, or a group in the environment is not JSON
        raise LetheError("settings.invalid", "Settings cannot be read.", (*unknown, type(error).__name__)) from error
    if unknown:
        raise LetheError("settings.invalid", "The environment names settings that do not exist.", unknown)
    return settings


def _unknown_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Variables that look like settings and are none; unknown names inside a group are pydantic's to find."""
    groups = set(Settings.model_fields)
    return tuple(
        f"{name}: no such setting"
        for name in sorted(environ)
        if name.startswith(ENV_PREFIX)
        and name not in ENV_OTHER
        and name.removeprefix(ENV_PREFIX).lower().split("__")[0] not in groups
        and not _KUBERNETES_LINK.search(name)
    )
