"""What the tests of clusters share: a specification with the cluster in question."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from galflow.spec.run import RunSpec, parse_spec

Specify = Callable[..., RunSpec]


@pytest.fixture(scope="session")
def specify() -> Specify:
    """A small run on the cluster with these settings."""

    def specified(**settings: Any) -> RunSpec:
        models = [{"name": "kmeans", "model": "kmeans.KMeans"}]
        return parse_spec({"name": "x", "survey": {"kind": "synthetic"}, "models": models, "cluster": settings})

    return specified
