"""Where the work of a run is done: the cluster part of a specification. It starts nothing (tasks.cluster does).

No field takes a secret: what a run writes down holds the whole specification. Files and Kubernetes secrets are named.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from galflow.spec.addresses import clean_address
from galflow.spec.part import SECRET, Part


def _size(text: str) -> str:
    if not re.fullmatch(r"\d+(\.\d+)? ?[kKMGTP]i?B?", text):
        raise ValueError("a size is a number and a unit, such as 8GiB or 500MB")
    return text


def _size_or_auto(text: str) -> str:
    return text if text == "auto" else _size(text)


def _one_line(text: str) -> str:
    if not text.strip() or "\n" in text or "\r" in text:
        raise ValueError("one line of text is expected; give several lines as a list")
    return text


def _no_secret(line: str) -> str:
    """A line for a shell. One that sets a secret by its value is refused: specifications are kept and shown."""
    if re.search(r"(?i)\w*(SECRET|PASSWORD|PASSWD|TOKEN|ACCESS_KEY|API_KEY)\w*=[\"']?[^\s\"'$`]", line):
        raise PydanticCustomError(
            SECRET,
            "a secret must not stand in a specification, which is kept with the results; "
            "read it from a file of your own: source ~/.galflow-credentials",
        )
    return line


def _walltime(text: str) -> str:
    if not re.fullmatch(r"(\d+-)?\d{1,2}:[0-5]\d:[0-5]\d", text):
        raise ValueError("a walltime is hours:minutes:seconds or days-hours:minutes:seconds; quote it in YAML")
    return text


def _host_and_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not re.fullmatch(r"[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\]", host) or not port.isdecimal() or int(port) > 65535:
        raise ValueError("a host and a port up to 65535 are expected, as 127.0.0.1:8787; port 0 is any free one")
    return text


Line = Annotated[str, AfterValidator(_one_line)]
ShellLine = Annotated[str, AfterValidator(_one_line), AfterValidator(_no_secret)]
KubernetesName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$")]


class TlsFiles(Part):
    """Certificates for encrypted connections in which both sides prove who they are. Paths, never contents."""

    ca_file: str
    """The authority's certificate, PEM."""
    cert_file: str
    """This side's certificate, PEM; on slurm the workers' too, so on a file system that all nodes share."""
    key_file: str
    """The certificate's private key, PEM, readable by you alone."""
    plain_training: bool = False
    """Whether trainings of several workers may send gradients and weights unencrypted: gloo and NCCL know no TLS."""


class AdaptiveSpec(Part):
    """As many workers as there is work for."""

    minimum: Annotated[int, Field(ge=1)] = 1
    """Kept also when there is nothing to do: the next stage would have to queue for a worker again."""
    maximum: Annotated[int, Field(ge=1)]
    """Never more than so many."""

    @model_validator(mode="after")
    def _ordered(self) -> AdaptiveSpec:
        if self.minimum > self.maximum:
            raise ValueError(f"minimum is {self.minimum}, which is more than maximum, {self.maximum}")
        return self


class CudaSpec(Part):
    """One worker on each GPU of this machine."""

    device_memory_limit: Annotated[str, AfterValidator(_size_or_auto)] = "auto"
    """Of one GPU, as 60GiB: beyond it Dask moves what it holds there to memory; auto: leave it to dask-cuda."""
    protocol: Literal["tcp", "ucx"] = "tcp"
    """tcp is encrypted; ucx uses NVLink and InfiniBand, needs the package distributed-ucxx and is not encrypted."""


class SlurmSpec(Part):
    """One worker in each SLURM job. The run itself stays where it was started, which must be able to call sbatch."""

    queue: Line | None = None
    """Partition; by default SLURM's."""
    account: Line | None = None
    """Account that is charged; by default yours."""
    walltime: Annotated[str, AfterValidator(_walltime)] = "04:00:00"
    """Of one job. Before it is over the worker stops taking work and leaves; another job replaces it."""
    cores: Annotated[int, Field(ge=1)] | None = None
    """CPUs of one job; by default threads_per_worker."""
    gpus_per_worker: Annotated[int, Field(ge=0)] = 0
    """GPUs of one job; galflow computes on the first."""
    job_extra_directives: tuple[Line, ...] = ()
    """What else stands behind #SBATCH, as --constraint=a100."""
    prologue: tuple[ShellLine, ...] = ()
    """Shell lines before the worker starts, as module load or source."""
    interface: Line | None = None
    """Network interface between the run and its workers, as ib0."""
    python: Line | None = None
    """Python of the workers, with this galflow; by default the run's own path."""
    local_directory: Line | None = None
    """Scratch of the node, as /scratch."""
    log_directory: Line | None = None
    """Where the jobs' output goes; by default where the run was started."""


class KubernetesSpec(Part):
    """One worker in each pod, started by the Dask operator, which the Kubernetes cluster must have."""

    image: Line | None = None
    """Container image with this galflow on its PATH, by tag or, better, digest. Needed."""
    namespace: KubernetesName | None = None
    """By default that of the current context."""
    cores: Annotated[int, Field(ge=1)] | None = None
    """CPUs of one pod; by default threads_per_worker."""
    gpus_per_worker: Annotated[int, Field(ge=0)] = 0
    """nvidia.com/gpu of one pod; galflow computes on the first."""
    secrets: tuple[KubernetesName, ...] = ()
    """Kubernetes secrets whose keys become the workers' environment, as AWS_SECRET_ACCESS_KEY. Names, never values."""
    config_maps: tuple[KubernetesName, ...] = ()
    """Config maps whose keys become the workers' environment, as AWS_ENDPOINT_URL."""
    image_pull_secrets: tuple[KubernetesName, ...] = ()
    """Kubernetes secrets for the image's registry, by name."""
    service_account: KubernetesName | None = None
    """Of the pods."""
    node_selector: dict[str, str] = Field(default={})
    """Labels that a worker's node must have."""
    idle_minutes: Annotated[int, Field(ge=1)] = 60
    """The operator removes scheduler and workers when nothing was done for so long, also if the run was killed."""


Kind = Literal["local", "cuda", "address", "slurm", "kubernetes"]
_OF_ONE_KIND: dict[str, tuple[Kind, ...]] = {
    "workers": ("local", "cuda", "slurm", "kubernetes"),
    "adaptive": ("local", "slurm", "kubernetes"),
    "memory_limit": ("local", "cuda", "slurm", "kubernetes"),
    "address": ("address",),
    "tls": ("address", "slurm"),
    "dashboard": ("local", "cuda", "slurm"),
    "cuda": ("cuda",),
    "slurm": ("slurm",),
    "kubernetes": ("kubernetes",),
}
"""Field -> kinds that heed it. A field that would be ignored is refused."""


class ClusterSpec(Part):
    """Where the work runs. Changing it changes no result."""

    kind: Kind = "local"
    """local: processes on this machine; cuda: one worker per GPU (galflow[cuda13] or galflow[cuda12]); address: a
    running Dask scheduler; slurm: jobs of a batch system (galflow[slurm]); kubernetes: pods (galflow[kubernetes])."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Workers; by default one per core (local) or GPU (cuda). slurm and kubernetes need it, or adaptive."""
    adaptive: AdaptiveSpec | None = None
    """Instead of a fixed number of workers: as many as there is work for (local, slurm, kubernetes)."""
    threads_per_worker: Annotated[int, Field(ge=1)] = 1
    """Threads that torch may use in one worker."""
    memory_limit: Annotated[str, AfterValidator(_size_or_auto)] = "auto"
    """Memory of one worker, as 8GiB; auto: the machine's, divided. slurm and kubernetes need a size."""
    in_flight_per_worker: Annotated[int, Field(ge=1, le=64)] = 3
    """Units of work handed to one worker ahead of time."""
    wait_minutes: Annotated[float, Field(gt=0)] | None = None
    """So long the run waits for workers that are missing; by default 10 minutes, for slurm 60 (queues are long)."""
    address: Annotated[str | None, AfterValidator(clean_address)] = None
    """For kind address: the scheduler's, as tcp://host:8786, or tls://host:8786 with tls."""
    tls: TlsFiles | None = None
    """For kinds address and slurm: encrypted connections. Without it whoever reaches the scheduler can run code."""
    dashboard: Annotated[str, AfterValidator(_host_and_port)] = "127.0.0.1:0"
    """Where Dask's dashboard and /metrics answer, to anybody (local, cuda, slurm). Port 0: any free one."""
    performance_report: bool = False
    """Whether Dask's performance report of the run is kept beside the run's own report."""
    cuda: CudaSpec = CudaSpec()
    """For kind cuda."""
    slurm: SlurmSpec = SlurmSpec()
    """For kind slurm."""
    kubernetes: KubernetesSpec = KubernetesSpec()
    """For kind kubernetes."""

    @property
    def patience_minutes(self) -> float:
        """So long the run waits for workers."""
        return self.wait_minutes or (60.0 if self.kind == "slurm" else 10.0)

    @property
    def most_workers(self) -> int | None:
        """The number of workers that the specification allows; None where it follows from the machine."""
        return self.adaptive.maximum if self.adaptive else self.workers

    @model_validator(mode="after")
    def _fields_belong_to_the_kind(self) -> ClusterSpec:
        for name, kinds in _OF_ONE_KIND.items():
            # By value, not by what was set: a form sends every field, with its default.
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(
                    f"{name} is given, but kind: {self.kind} does not use it ({' and '.join(kinds)} does); "
                    f"leave {name} out, or choose that kind"
                )
        return self

    @model_validator(mode="after")
    def _complete(self) -> ClusterSpec:
        if self.kind == "address":
            self._address_fits()
        if self.workers is not None and self.adaptive is not None:
            raise ValueError("workers and adaptive are both given; one of them says how many workers there are")
        if self.kind in ("slurm", "kubernetes"):
            if self.workers is None and self.adaptive is None:
                raise ValueError(f"kind: {self.kind} needs workers, or adaptive with a maximum")
            if self.memory_limit == "auto":
                raise ValueError(f"kind: {self.kind} needs the memory of one worker, as memory_limit: 8GiB")
        if self.kind == "kubernetes" and self.kubernetes.image is None:
            raise ValueError("kind: kubernetes needs kubernetes.image, a container image with this galflow")
        return self

    def _address_fits(self) -> None:
        if self.address is None:
            raise ValueError("kind: address needs an address such as tcp://host:8786")
        if self.tls is not None and not self.address.startswith("tls://"):
            raise ValueError(f"tls is given, but the address is {self.address}; write it as tls://host:8786")
        if self.tls is None and self.address.startswith("tls://"):
            raise ValueError(f"address is {self.address}, which needs tls: {{ca_file, cert_file, key_file}}")
