"""What all groups of values share: spelling, and the kinds of values that occur in many places."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

DNS_NAME = r"^$|^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
CRON = r"^\S+ \S+ \S+ \S+ \S+$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"

Name = Annotated[str, Field(pattern=DNS_NAME, max_length=253)]
Quantity = Annotated[str, Field(pattern=QUANTITY)]
Labels = Annotated[dict[str, str], Field()]
KubernetesList = Annotated[list[dict[str, Any]], Field()]
KubernetesObject = Annotated[dict[str, Any], Field()]


class Group(BaseModel):
    """Values that belong together: camelCase in YAML, closed, frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Image(Group):
    """A container image."""

    repository: str = Field("", pattern=r"^$|^[a-z0-9][a-z0-9._:/-]*$", description="Registry and name, without a tag.")
    tag: str = Field(
        "",
        pattern=r"^$|^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$",
        json_schema_extra={"not": {"const": "latest"}},
        description="Tag; empty: the chart's appVersion. `latest` is refused.",
    )
    digest: str = Field("", pattern=r"^$|^sha256:[0-9a-f]{64}$", description="Digest; it counts over the tag.")
    pull_policy: str = Field("IfNotPresent", pattern="^(Always|IfNotPresent|Never)$", description="imagePullPolicy.")


class Resources(Group):
    """What a container asks for and may use; the GPU is asked for elsewhere."""

    requests: dict[str, Quantity | int | float] = Field(default_factory=dict, description="Asked for.")
    limits: dict[str, Quantity | int | float] = Field(default_factory=dict, description="At most.")


class Gpu(Group):
    """The accelerator of a container; request and limit are equal."""

    resource: str = Field(
        "nvidia.com/gpu",
        pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$",
        description="Name of the resource; for a MIG slice e.g. `nvidia.com/mig-1g.10gb`.",
    )
    count: int = Field(1, ge=0, le=16, description="How many; 0: CPU.")


class ExternalSecret(Group):
    """A Secret that the External Secrets Operator fills; the chart never makes one itself."""

    enabled: bool = Field(False, description="Make an ExternalSecret.")
    store: Name = Field("", description="Name of the SecretStore.")
    store_kind: str = Field("SecretStore", pattern="^(Cluster)?SecretStore$", description="Kind of the store.")
    remote_key: str = Field("", description="Key in the store; each of its properties becomes a key of the Secret.")
    refresh_interval: str = Field("1h", pattern=r"^[0-9]+(s|m|h)$", description="How often it is read.")


class Scheduling(Group):
    """Where pods run."""

    node_selector: Labels = Field(default_factory=dict, description="Node labels.")
    tolerations: KubernetesList = Field(default_factory=list, description="Kubernetes tolerations.")
    affinity: KubernetesObject = Field(default_factory=dict, description="Kubernetes affinity.")
    priority_class_name: Name = Field("", description="PriorityClass.")
    runtime_class_name: Name = Field("", description="RuntimeClass (GPU runtimes).")


class Extra(Group):
    """Additions to a workload's pods."""

    pod_labels: Labels = Field(default_factory=dict, description="More labels.")
    pod_annotations: Labels = Field(default_factory=dict, description="More annotations.")
    env: KubernetesList = Field(default_factory=list, description="More environment variables (EnvVar).")
    volumes: KubernetesList = Field(default_factory=list, description="More volumes.")
    volume_mounts: KubernetesList = Field(default_factory=list, description="More mounts of Lethe's own containers.")
