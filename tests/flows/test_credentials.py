"""The object store's credentials from a Prefect block: enough for a run, and nowhere but in its environment."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Command, RunToItsEnd, WriteSpec

WRONG = {"AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "wrong"}
TINY: dict[str, Any] = {
    "name": "blocked",
    "survey": {"kind": "synthetic", "options": {"tiles": 1, "tile_size": 128, "objects_per_tile": 9}},
    "cutouts": {"size": 16},
    "models": [{"name": "kmeans", "model": "kmeans.KMeans", "options": {"clusters": 2}}],
    "cluster": {"workers": 1},
}


@pytest.fixture
def make_block(ask: Callable[..., Any]) -> Callable[[Any], str]:
    """Makes a Secret block with this value, as the UI does; its name."""

    def make(value: Any) -> str:
        kind = ask("block_types/slug/secret")
        schema = ask("block_schemas/filter", {"block_schemas": {"block_type_id": {"any_": [kind["id"]]}}})[0]
        name = f"store-{uuid.uuid4().hex[:8]}"
        document = {"name": name, "block_type_id": kind["id"], "block_schema_id": schema["id"]}
        ask("block_documents/", document | {"data": {"value": value}})
        return name

    return make


@pytest.mark.full
@pytest.mark.s3
def test_a_run_with_a_blocks_credentials(
    run_to_its_end: RunToItsEnd,
    make_block: Callable[[Any], str],
    prefect_api: dict[str, str],
    s3_server: Any,
    s3_root: str,
    tmp_path: Path,
) -> None:
    block = make_block({"AWS_ACCESS_KEY_ID": s3_server.access_key, "AWS_SECRET_ACCESS_KEY": s3_server.secret_key})
    spec = TINY | {"store": {"root": s3_root, "credentials_block": block}}
    finished = run_to_its_end(tmp_path, spec, s3_root, **prefect_api, **WRONG)
    assert finished.manifest.summary["scored"] > 0
    written = {"terminal": (finished.process.stdout + finished.process.stderr).encode()}
    written |= {key: finished.store.get(key) for key in finished.store.list("")}
    written |= {str(p): p.read_bytes() for p in Path(prefect_api["SERVER_HOME"]).rglob("*") if p.is_file()}
    assert not [name for name, content in written.items() if s3_server.secret_key.encode() in content]


@pytest.mark.full
def test_a_block_that_is_not_there(
    galflow: Command, prefect_api: dict[str, str], write_spec: WriteSpec, tmp_path: Path
) -> None:
    spec = write_spec(TINY | {"store": {"root": str(tmp_path / "store"), "credentials_block": "none-such"}})
    ended = galflow("run", str(spec), **prefect_api)
    assert ended.returncode == 2
    assert "has no Secret block 'none-such'" in ended.stderr
    assert prefect_api["PREFECT_API_URL"] in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "store").exists()
