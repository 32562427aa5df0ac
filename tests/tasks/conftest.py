"""What the tests of clusters share: a specification with the cluster in question, and certificates."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from galflow.cluster_spec import TlsFiles
from galflow.spec import RunSpec, parse_spec

Specify = Callable[..., RunSpec]


@pytest.fixture(scope="session")
def specify() -> Specify:
    """A small run on the cluster with these settings."""

    def specified(**settings: Any) -> RunSpec:
        models = [{"name": "kmeans", "model": "kmeans.KMeans"}]
        return parse_spec({"name": "x", "survey": {"kind": "synthetic"}, "models": models, "cluster": settings})

    return specified


@pytest.fixture(scope="session")
def make_tls(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], TlsFiles]:
    """Makes an authority of its own with one certificate, by openssl."""

    def make(name: str) -> TlsFiles:
        folder = tmp_path_factory.mktemp(name)

        def openssl(*arguments: str) -> None:
            subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

        key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
        openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", "-subj", f"/CN={name} CA")
        openssl("req", *key, "-keyout", "me.key", "-out", "me.csr", "-subj", f"/CN={name}")
        openssl("x509", "-req", "-in", "me.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                "-out", "me.pem", "-days", "2")  # fmt: skip
        paths = {"ca_file": "ca.pem", "cert_file": "me.pem", "key_file": "me.key"}
        return TlsFiles(**{field: str(Path(folder, path)) for field, path in paths.items()})

    return make
