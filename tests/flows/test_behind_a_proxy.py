"""A run with a Prefect server of its own and an S3 store of this machine, behind a proxy that is not there.

All runs of these folders are behind one (conftest.galflow); this one has nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import RunToItsEnd

DOCUMENT: dict[str, Any] = {
    "name": "behind",
    "survey": {"kind": "synthetic", "options": {"tiles": 1, "tile_size": 160, "objects_per_tile": 30}},
    "cutouts": {"size": 16},
    "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
    "training": {"reference_fraction": 0.3},
    "cluster": {"workers": 1},
    "output": {"report": False},
}
PROXY = "http://127.0.0.1:9"


@pytest.mark.s3
@pytest.mark.full
def test_a_run_behind_a_proxy_asks_its_own_machine_directly(
    run_to_its_end: RunToItsEnd, tmp_path: Any, s3_root: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    proxies = {"HTTP_PROXY": PROXY, "HTTPS_PROXY": PROXY, "http_proxy": PROXY, "https_proxy": PROXY}
    finished = run_to_its_end(tmp_path, DOCUMENT, s3_root, **proxies)
    assert finished.manifest.summary["objects"] > 0
