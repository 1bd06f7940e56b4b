"""All values of the chart, and the part of Lethe's settings that it passes on."""

from typing import Any

from pydantic import Field

from charts.values.kinds import Group, Image, KubernetesList, Labels, Name
from charts.values.surroundings import (
    Augmenter,
    Database,
    Deletion,
    Keys,
    Mail,
    Metrics,
    NetworkPolicy,
    ObjectStore,
    Oidc,
    PodSecurity,
    Rotation,
    Storage,
    Tests,
    Tryout,
)
from charts.values.workloads import AuditCheck, Intake, Lineage, Migrations, Serving, Unlearning
from services.settings import Settings

# Set by the chart itself, from Secrets, or meaningless where the engine is a sidecar.
OWN_SETTINGS = (
    "home",
    "store",
    "keys",
    "jobs.url",
    "intake.host",
    "intake.port",
    "unlearning.host",
    "unlearning.port",
    "serving.host",
    "serving.port",
    "serving.engine_socket",
    "serving.address",
    "serving.vllm.python",
    "augmenter.api_key",
    "mail.password",
    "oidc.client_secret",
    "deletion.sources",
    "ray",  # no image has it, and no network policy opens the way to a cluster
    "deployment",
)


class Global(Group):
    """What an umbrella chart sets for all its parts."""

    image_registry: str = Field("", description="Registry in front of every image (an air-gapped mirror).")
    image_pull_secrets: list[Name] = Field(default_factory=list, description="Names of pull secrets.")


class Values(Group):
    """The chart's values."""

    name_override: Name = Field("", description="In place of the chart's name.")
    fullname_override: Name = Field("", description="In place of release and chart name.")
    common_labels: Labels = Field(default_factory=dict, description="Labels of everything.")
    global_: Global = Field(default_factory=Global, alias="global")
    image: Image = Field(default_factory=Image, description="Lethe: intake, gateways, Jobs.")
    gpu_image: Image = Field(
        default_factory=Image,
        description="Lethe with CUDA: worker and transformers engine; without a repository: `image`.",
    )
    vllm_image: Image = Field(
        default_factory=lambda: Image(repository="vllm/vllm-openai", tag="v0.32.0"),
        description="vLLM, where `config.serving.engine` is `vllm`; only versions that Lethe was tested with serve.",
    )
    source_directory: str = Field(
        "/home/bentoml/bento/src", pattern="^/", description="Where the code lies in Lethe's images."
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="Lethe's settings by group and name (docs/settings.md), closed like the rest."
    )
    augmenter: Augmenter = Field(default_factory=Augmenter)
    mail: Mail = Field(default_factory=Mail)
    oidc: Oidc = Field(default_factory=Oidc)
    deletion: Deletion = Field(default_factory=Deletion)
    database: Database = Field(default_factory=Database)
    keys: Keys = Field(default_factory=Keys)
    storage: Storage = Field(default_factory=Storage)
    object_store: ObjectStore = Field(default_factory=ObjectStore)
    tryout: Tryout = Field(default_factory=Tryout)
    pod_security: PodSecurity = Field(default_factory=PodSecurity)
    service_account_annotations: Labels = Field(default_factory=dict, description="Of every ServiceAccount.")
    ipv6: bool = Field(False, description="The cluster gives pods IPv6 addresses only: services listen on `::`.")
    intake: Intake = Field(default_factory=Intake)
    unlearning: Unlearning = Field(default_factory=Unlearning)
    serving: Serving = Field(default_factory=Serving)
    migrations: Migrations = Field(default_factory=Migrations)
    lineage: Lineage = Field(default_factory=Lineage)
    audit_check: AuditCheck = Field(default_factory=AuditCheck)
    network_policy: NetworkPolicy = Field(default_factory=NetworkPolicy)
    metrics: Metrics = Field(default_factory=Metrics)
    rotation: Rotation = Field(default_factory=Rotation)
    tests: Tests = Field(default_factory=Tests)
    extra_objects: KubernetesList = Field(default_factory=list, description="More objects, each passed through `tpl`.")


def settings_schema() -> dict[str, Any]:
    """The schema of ``config``: that of the settings, without what the chart sets itself; groups stay closed."""
    whole = Settings.model_json_schema()
    definitions = whole["$defs"]
    root = {name: whole[name] for name in ("properties", "type")} | {"additionalProperties": False}
    for dotted in OWN_SETTINGS:
        *groups, name = dotted.split(".")
        place = root
        for group in groups:
            place = definitions[place["properties"][group]["$ref"].rpartition("/")[2]]
        del place["properties"][name]
        if name in place.get("required", ()):
            place["required"].remove(name)
    return {**root, "$defs": definitions}
