"""The simulated survey of benchmarks.scale, small: calls to Prefect, a killed run, and what is published in the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale import CHUNKS_PER_TILE, PrefectServer, prefect_server, specification, start
from benchmarks.scale_store import Masters, lay_out, make_masters
from galflow.catalog.published import read_published
from galflow.spec.run import RunSpec
from galflow.storage.receipts import list_runs, read_manifest
from galflow.storage.store import Store

SMALL = {"size": 16, "chunk_megabytes": 0.05}
TILES = 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with prefect_server(tmp_path_factory.mktemp("scale") / "prefect") as running:
        yield running


@pytest.fixture(scope="module")
def masters(tmp_path_factory: pytest.TempPathFactory) -> Masters:
    folder = tmp_path_factory.mktemp("scale")
    return make_masters(folder, specification(1, folder, SMALL))


def survey(tiles: int, folder: Path, masters: Masters) -> RunSpec:
    """Of so many tiles, cut and with trained models."""
    spec = specification(tiles, folder / f"store-{tiles}", SMALL)
    lay_out(spec, masters)
    return spec


def published_rows(spec: RunSpec) -> dict[str, list[int]]:
    """Tile -> rows, of the one published run."""
    store = Store.open(spec.store.root)
    (run,) = list_runs(store)
    manifest = read_manifest(store, run)
    assert manifest is not None
    table = read_published(manifest.located(store).catalog)
    assert table.column("kmeans_distance").null_count == 0
    tiles = np.array(table.column("tile").to_pylist())
    rows = table.column("row").to_numpy()
    return {tile: sorted(rows[tiles == tile].tolist()) for tile in np.unique(tiles)}


@pytest.mark.full
@pytest.mark.timeout(900)  # three runs of the real command
def test_a_run_killed_halfway_does_the_rest_and_asks_prefect_no_more_than_one_of_two_tiles(
    server: PrefectServer, masters: Masters, tmp_path: Path
) -> None:
    assert masters.objects == 8 * CHUNKS_PER_TILE
    few = start(survey(2, tmp_path, masters), server)
    assert few.units == 2
    spec = survey(TILES, tmp_path, masters)
    first = start(spec, server, kill_after=TILES // 2)
    second = start(spec, server)
    assert TILES // 2 <= first.units < TILES
    # What was handed out but not finished when the run was killed is handed out again: three for each worker.
    assert TILES - first.units <= second.units <= TILES - first.units + 6
    rows = published_rows(spec)
    assert len(rows) == TILES
    assert all(found == list(range(masters.objects)) for found in rows.values())
    # A slow machine may tell its progress once more in some stages; a call a tile would be eighteen more.
    assert 5 <= second.calls <= few.calls + 8
    assert min(first.peak_bytes, second.peak_bytes) > 1 << 20
