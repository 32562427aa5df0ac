"""Latents as columns of the explorer: where each object lies along the leading directions, and a line around some."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from galflow.explore import index, latents
from galflow.explore.explored import ExploredRun
from galflow.explore.query import Lasso, Query, Selection
from galflow.labels.directions import COMPONENTS, LatentDirections
from galflow.labels.vectors import read_vectors
from galflow.runs.tile_products import LATENTS, tile_products
from galflow.storage.store import Store
from tests.galflow.explore.conftest import COUNT, EACH, MODEL, publish_small_run

AXES = [f"{MODEL}_latent_{number}" for number in range(1, COMPONENTS + 1)]


def test_each_object_lies_where_its_latents_put_it(local_run: ExploredRun) -> None:
    vectors = np.concatenate(
        [read_vectors(local_run.store, key) for key in tile_products(local_run.manifest, LATENTS).values()]
    )
    directions = LatentDirections.of(vectors)
    table = local_run.rows.fetch(range(COUNT), AXES)
    found = np.stack([table.column(name).to_numpy() for name in AXES], axis=1)
    np.testing.assert_allclose(found, directions.places(vectors), rtol=1e-3, atol=1e-4)
    assert local_run.latents is not None
    assert list(local_run.latents.names) == AXES
    np.testing.assert_allclose(local_run.latents.shares, directions.shares)
    assert np.argmax(found.var(axis=0)) == 0, "the first direction is the one along which they differ most"


def test_a_line_around_some_selects_them(local_run: ExploredRun) -> None:
    places = local_run.rows.fetch(range(COUNT), AXES[:2])
    x, y = (places.column(name).to_numpy().astype(float) for name in AXES[:2])
    right, low, high = float(x.max()) + 1, float(y.min()) - 1, float(y.max()) + 1
    middle = float(np.median(x))
    lasso = Lasso(*AXES[:2], ((middle, low), (right, low), (right, high), (middle, high)))
    found = local_run.rows.ordered(Query(Selection(lasso=lasso)))
    assert set(found.tolist()) == set(np.flatnonzero(x > middle).tolist())


def test_what_is_lost_is_null_and_told_and_kept_with_a_copy(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = publish_small_run(store, modelled=True)
    whole = ExploredRun.open(store, manifest)
    store.delete(tile_products(manifest, LATENTS)["t1"])
    monkeypatch.setattr(index, "LARGEST_IN_MEMORY", 10)
    for _ in range(2):  # built, and found there
        explored = ExploredRun.open(store, manifest, tmp_path / "cache")
        assert explored.latents is not None
        assert len(explored.latents.lost) == 1
        assert explored.latents.lost[0].startswith("tile t1: ")
        places = explored.rows.fetch(range(COUNT), AXES[:1]).column(AXES[0])
        assert places.slice(EACH).null_count == EACH
        assert places.slice(0, EACH).null_count == 0
        explored.close()
    assert whole.rows.fetch(range(COUNT), AXES[:1]).column(AXES[0]).null_count == 0
    whole.close()


def test_a_column_of_that_name_stays_what_it_is(local_store: Store) -> None:
    manifest = publish_small_run(local_store, modelled=True)
    taken = pa.schema([pa.field(AXES[1], pa.float64())])
    assert latents.latent_columns(local_store, manifest, taken) is None
    assert latents.latent_columns(local_store, manifest, pa.schema([])) is not None
