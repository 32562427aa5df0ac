"""Likelihood ratios are compared on objects that no model of the ratio learnt from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from galflow.compare.ratios import unseen_ratios
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.cutouts.set_writing import CutoutData, write_cutout_set
from galflow.cutouts.splits import Split, split_rows
from galflow.errors import DataError, IntegrityError
from galflow.spec.run import CutoutSpec
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel

OBJECTS = 60
COLUMN = "llr_a_b"


def model(validation: float = 0.1, reference: float = 0.3) -> TrainedModel:
    """What is asked of a model here: its card's shares of held-out objects."""
    settings = {"validation_fraction": validation, "reference_fraction": reference}
    card = SimpleNamespace(name="a", training={"settings": settings})
    return cast("TrainedModel", SimpleNamespace(card=card))


def tile(store: Store, name: str, flags: np.ndarray) -> Receipt:
    """A cutout set, and its score part in which the ratio of row i is i + 0.5; null in row 7."""
    rng = np.random.default_rng(len(name) + ord(name[-1]))
    rows = pa.table(
        {
            "object_id": rng.integers(1, 2**60, OBJECTS),
            "ra": np.zeros(OBJECTS),
            "dec": np.zeros(OBJECTS),
            "flags": flags,
        }
    )
    attributes = {
        "survey": "toy", "release": "1", "tile": name, "bands": ["r"], "unit": "nJy", "sky_sigma": [1.0],
        "pixel_scale_arcsec": 0.2, "psf_fwhm_arcsec": [None],
    }  # fmt: skip
    flux = np.zeros((OBJECTS, 1, 8, 8), np.float32)
    data = CutoutData(flux, np.ones_like(flux), np.zeros(flux.shape, np.uint16), rows, attributes)
    write_cutout_set(store, f"{name}.zarr", data, CutoutSpec(size=8))
    values = np.arange(OBJECTS) + 0.5
    known = pa.array(values, mask=np.arange(OBJECTS) == 7)
    sink = pa.BufferOutputStream()
    primary = (flags & int(Flag.PLANTED)) == 0
    pq.write_table(pa.table({"row": np.arange(OBJECTS), "is_primary": primary, COLUMN: known}), sink)
    product = f"scores/{name}.parquet"
    written = store.put(product, sink.getvalue().to_pybytes())
    inputs = {"cutouts": "shared", "join": f"of {name}"}
    return Receipt(product=product, fingerprint=name, inputs=inputs, files={"": written}, rows=OBJECTS)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(tmp_path)


@pytest.fixture
def parts(store: Store) -> list[Receipt]:
    """Two tiles; rows 50 on of each are planted copies, row 3 touches the edge."""
    flags = np.zeros(OBJECTS, np.uint32)
    flags[50:], flags[3] = int(Flag.PLANTED), int(Flag.EDGE)
    return [tile(store, name, flags) for name in ("a", "b")]


@pytest.fixture
def sets(store: Store) -> dict[str, CutoutSet]:
    """By the fingerprint of their join."""
    return {f"of {name}": CutoutSet(store, f"{name}.zarr") for name in ("a", "b")}


def test_of_objects_that_a_model_learnt_only_the_held_out_ones_count(
    store: Store, parts: list[Receipt], sets: dict[str, CutoutSet]
) -> None:
    found = unseen_ratios(store, parts, sets, {COLUMN: [model()]})[COLUMN]
    wanted = [split_rows(sets[f"of {n}"], Split.REFERENCE, 0.1, 0.3) for n in ("a", "b")]
    expected = np.concatenate([rows[rows != 7] + 0.5 for rows in wanted])
    np.testing.assert_array_equal(np.sort(found), np.sort(expected))
    assert 10 < len(found) < 70


def test_of_two_learners_both_must_not_have_seen_it(
    store: Store, parts: list[Receipt], sets: dict[str, CutoutSet]
) -> None:
    """The one's validation objects are the other's held-out ones."""
    both = unseen_ratios(store, parts, sets, {COLUMN: [model(0.1, 0.3), model(0.25, 0.3)]})[COLUMN]
    one = unseen_ratios(store, parts, sets, {COLUMN: [model(0.25, 0.15)]})[COLUMN]
    np.testing.assert_array_equal(np.sort(both), np.sort(one))


def test_of_objects_that_no_model_learnt_all_real_ones_count(
    store: Store, parts: list[Receipt], sets: dict[str, CutoutSet]
) -> None:
    found = unseen_ratios(store, parts, sets, {COLUMN: []})[COLUMN]
    real = np.delete(np.arange(50), 7) + 0.5
    np.testing.assert_array_equal(np.sort(found), np.sort(np.concatenate([real, real])))
    assert len(unseen_ratios(store, [replace_rows(p, 0) for p in parts], sets, {COLUMN: []})[COLUMN]) == 0


def replace_rows(part: Receipt, rows: int) -> Receipt:
    return part.model_copy(update={"rows": rows})


def test_an_altered_part_and_a_card_without_shares_are_refused(
    store: Store, parts: list[Receipt], sets: dict[str, CutoutSet]
) -> None:
    silent: Any = SimpleNamespace(card=SimpleNamespace(name="old", training={}))
    with pytest.raises(DataError, match="model old does not say which share"):
        unseen_ratios(store, parts, sets, {COLUMN: [silent]})
    store.put(parts[1].product, store.get(parts[0].product)[:-1] + b"x")
    with pytest.raises(IntegrityError, match="differs from what its receipt says"):
        unseen_ratios(store, parts, sets, {COLUMN: []})
