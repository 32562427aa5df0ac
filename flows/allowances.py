"""What a run that comes from a service (the form, an event, the clock) may name: what the service's owner allows.

Some fields of a specification make a run execute code, or read what its author could not: a scheduler's address, shell
lines, a container image, the path of a plug-in, an environment variable. `galflow run` is started by whoever could do
all that anyway. A run of a deployment is started by whoever can reach the server, so there these fields are refused
unless GALFLOW_ALLOW lists their value. The check is the first thing that such a run does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from prefect.context import FlowRunContext
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from galflow.errors import SpecError
from galflow.models.base import BringsWeights, all_models
from galflow.spec.cluster import ClusterSpec
from galflow.spec.emulation import EmulationSpec
from galflow.spec.models import ModelSpec
from galflow.spec.part import describe
from galflow.spec.run import RunSpec
from galflow.surveys.resolve import survey_kinds
from galflow.variables import named_in

ALLOW = "GALFLOW_ALLOW"
"""Environment variable of the service: a YAML file, or the mapping itself where it begins with {."""
_SLURM = ("prologue", "job_extra_directives", "python", "interface", "local_directory", "log_directory")
_KUBERNETES = ("image", "namespace", "secrets", "config_maps", "image_pull_secrets", "service_account")
_TLS = ("ca_file", "cert_file", "key_file")
_ANY = "*"
_FOLDERS = ("trained_models", "encoders")
"""Kinds whose values are folders: what lies below one is allowed with it."""


class Allowances(BaseModel):
    """Values that specifications may name, a list for each kind; "*" allows every one of a kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cluster_addresses: frozenset[str] = frozenset()
    """Of Dask schedulers (cluster.address)."""
    dashboards: frozenset[str] = frozenset()
    """Where Dask's dashboard may listen (cluster.dashboard), besides 127.0.0.1."""
    tls_files: frozenset[str] = frozenset()
    """Certificates and keys (cluster.tls)."""
    slurm: frozenset[str] = Field(default=frozenset())
    """Lines and paths that become part of a job's script (cluster.slurm: prologue, job_extra_directives, python,
    interface, local_directory, log_directory)."""
    kubernetes: frozenset[str] = Field(default=frozenset())
    """Images, namespaces, service accounts, secrets and config maps, by name (cluster.kubernetes)."""
    plug_ins: frozenset[str] = frozenset()
    """Paths of survey and model classes that are not galflow's own."""
    trained_models: frozenset[str] = frozenset()
    """URIs that a trained model's (models.trained) must begin with. Their class is the one that the specification
    names: a card that names another is refused."""
    encoders: frozenset[str] = frozenset()
    """What the paths or URIs of a user's networks must begin with, if they are TorchScript, which can do what a program
    can. ONNX is data and needs no allowance."""
    variables: frozenset[str] = frozenset()
    """Environment variables that a specification may name as ${NAME}."""

    @classmethod
    def of_service(cls) -> Allowances:
        """What GALFLOW_ALLOW says; nothing where it is not set. SpecError if it cannot be read."""
        given = os.environ.get(ALLOW, "").strip()
        if not given:
            return cls()
        what = ALLOW if given.startswith("{") else f"the file {given} that {ALLOW} names"
        try:
            text = given if given.startswith("{") else Path(given).read_text(encoding="utf-8")
            document = yaml.safe_load(text)
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise SpecError(f"{what} cannot be read: {error}; expected YAML such as plug_ins: [mine.Model]") from error
        try:
            return cls.model_validate(document or {})
        except ValidationError as error:
            raise SpecError(f"{describe(error, what)}\nexpected lists under {', '.join(cls.model_fields)}") from None

    def with_those_of(self, spec: RunSpec | None) -> Allowances:
        """These, and all that a specification of the owner's own names."""
        more = self.model_dump()
        for kind, _, value in named_by(spec) if spec is not None else ():
            more[kind] = more[kind] | {value}
        return Allowances(**more)

    @property
    def text(self) -> str:
        """As GALFLOW_ALLOW takes it."""
        return json.dumps({name: sorted(values) for name, values in self.model_dump().items() if values})

    def refused(self, spec: RunSpec | EmulationSpec) -> list[str]:
        """A line for each thing that is named and not allowed."""
        return [
            f"{field}: {value!r} is not allowed here; whoever runs this service may add it to {kind} in {ALLOW}"
            for kind, field, value in named_by(spec)
            if not self._allows(kind, value)
        ]

    def _allows(self, kind: str, value: str) -> bool:
        allowed: frozenset[str] = getattr(self, kind)
        if kind in _FOLDERS:
            beginnings = tuple(f"{uri.rstrip('/')}/" for uri in allowed)
            return _ANY in allowed or (f"{value}/".startswith(beginnings) and ".." not in value.split("/"))
        return _ANY in allowed or value in allowed


def named_by(spec: RunSpec | EmulationSpec) -> Iterator[tuple[str, str, str]]:
    """(kind of allowance, field, value) for everything that a service must allow."""
    yield from _of_cluster(spec.cluster)
    if isinstance(spec, RunSpec):
        yield from _of_run(spec)
    else:
        yield "trained_models", "model", spec.model
    for field, name in _variables(spec.model_dump(mode="json"), ""):
        yield "variables", field, name


def _of_run(spec: RunSpec) -> Iterator[tuple[str, str, str]]:
    surveys = [("survey", spec.survey), *((f"comparison sample {s.name}", s.survey) for s in spec.comparison.samples)]
    for what, survey in surveys:
        for field, kind in _kinds(f"{what}.kind", survey.kind, survey.options):
            if "." in kind and kind not in _paths(survey_kinds()):
                yield "plug_ins", field, kind
    models = all_models()
    files = {name.partition(".")[0] for name in models}
    for model in spec.models:
        # A name that no model of galflow's own files has is none of a plug-in: galflow.runs.check says which there are.
        if model.model.rpartition(".")[0] not in files and model.model not in _paths(models):
            yield "plug_ins", f"model {model.name}", model.model
        if model.trained is not None:
            yield "trained_models", f"model {model.name}.trained", model.trained
        elif (encoder := _program(model)) is not None:
            yield "encoders", f"model {model.name}.options.encoder", encoder


def _kinds(field: str, kind: str, options: Any) -> Iterator[tuple[str, str]]:
    """(field, kind) of a survey and of the one that it imitates."""
    yield field, kind
    like = options.get("like") if isinstance(options, Mapping) else None
    if isinstance(like, Mapping) and isinstance(like.get("kind"), str):
        yield from _kinds(f"{field.removesuffix('.kind')}.options.like.kind", like["kind"], like.get("options"))


def _program(model: ModelSpec) -> str | None:
    """The file of a network that it brings, if that may be a program; a plug-in's is its owner's to judge."""
    found = {**all_models(), **{f"{c.__module__}.{c.__qualname__}": c for c in all_models().values()}}.get(model.model)
    if found is None or not issubclass(found, BringsWeights):
        return None
    given = model.options.get(found.weights_option)
    return given if isinstance(given, str) and not given.lower().endswith(".onnx") else None


def _paths(classes: Mapping[str, type]) -> set[str]:
    return {f"{c.__module__}.{c.__qualname__}" for c in classes.values()}


def _of_cluster(cluster: ClusterSpec) -> Iterator[tuple[str, str, str]]:
    if cluster.address is not None:
        yield "cluster_addresses", "cluster.address", cluster.address
    if cluster.dashboard.rpartition(":")[0] not in ("127.0.0.1", "localhost"):
        yield "dashboards", "cluster.dashboard", cluster.dashboard
    for kind, part, names in (
        ("tls_files", "tls", _TLS),
        ("slurm", "slurm", _SLURM),
        ("kubernetes", "kubernetes", _KUBERNETES),
    ):
        for name in names if getattr(cluster, part) is not None else ():
            given = getattr(getattr(cluster, part), name)
            for value in (given,) if isinstance(given, str) else given or ():
                yield kind, f"cluster.{part}.{name}", value


def _variables(value: Any, field: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield from ((field, name) for name in named_in(value))
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _variables(part, f"{field}.{name}" if field else str(name))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _variables(part, f"{field}.{number}")


def require_allowed(spec: RunSpec | EmulationSpec) -> None:
    """SpecError, with a line for each thing, if this is a run of a service that its owner does not allow.

    Nothing in a run that a person's own command started.
    """
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or run.deployment_id is None:
        return
    refused = Allowances.of_service().refused(spec)
    if refused:
        raise SpecError("this service does not do all that the specification asks for:\n  " + "\n  ".join(refused))
