"""What lies damaged in the store: found before it counts, recorded, and made anew without the rest."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from galflow.storage.layout import RECEIPT_SUFFIX
from galflow.storage.receipts import list_runs
from galflow.storage.store import Store

if TYPE_CHECKING:
    from conftest import Matrix


def copy_of(matrix: Matrix) -> Store:
    """The store of the undisturbed run, to be damaged."""
    root = matrix.folder / "store"
    shutil.copytree(matrix.undisturbed.root, root)
    return Store.open(root)


def flip_a_bit(store: Store, key: str) -> None:
    data = bytearray(store.get(key))
    data[len(data) // 3] ^= 8
    store.put(key, bytes(data))


def unpublish(store: Store) -> None:
    """As if the run had been cut short before its comparison: scores and what follows are to be made."""
    for prefix in ("scores", "comparisons", "catalogs", "reports", "runs"):
        store.delete(prefix)


@pytest.mark.full
def test_a_corrupted_chunk(matrix: Matrix) -> None:
    store = copy_of(matrix)
    unpublish(store)
    product = next(k for k in store.list("cutouts/synthetic") if k.endswith(RECEIPT_SUFFIX)).removesuffix(
        RECEIPT_SUFFIX
    )
    flip_a_bit(store, next(k for k in store.list(f"{product}/flux") if "/c/" in k))

    ended = matrix.start().end()
    # The run ends, with all other tiles; the damaged one has no score rather than a wrong one.
    assert ended.code == 1
    tile = product.split("/")[-2]
    assert f"failed: score {tile}: " in ended.said
    assert "flux" in ended.said
    assert "galflow verify" in ended.said
    assert "Traceback" not in ended.said
    (partial,) = list_runs(store)

    mended = matrix.galflow("verify", "--root", store.root, "--discard")
    assert mended.returncode == 1
    assert product in mended.stdout
    again = matrix.start().end()
    assert again.code == 0, again.said
    runs = set(list_runs(store))
    assert len(runs) == 2
    whole = matrix.undisturbed.manifest
    assert runs - {partial} == {whole.run}
    for key in matrix.undisturbed.store.list("scores"):
        if not key.endswith(RECEIPT_SUFFIX):
            assert store.get(key) == matrix.undisturbed.store.get(key)
    matrix.line("a corrupted chunk in the store", "recorded, the run goes on; verify --discard; same catalogue")


@pytest.mark.full
def test_a_corrupted_receipt(matrix: Matrix) -> None:
    store = copy_of(matrix)
    unpublish(store)
    receipts = [k for k in store.list("cutouts/synthetic") if k.endswith(RECEIPT_SUFFIX)]
    for key, damage in zip(receipts, (b"", b'{"product": "cutouts/oth', b"\xff\xfe"), strict=True):
        store.put(key, damage)
    before = {key: store.get(key) for key in store.list("models")}
    ended = matrix.start().end()
    assert ended.code == 0, ended.said
    assert {key: store.get(key) for key in store.list("models")} == before
    matrix.require_same()
    matrix.line("corrupted receipts in the store", f"made anew; same catalogue, {ended.seconds:.0f} s")


@pytest.mark.full
def test_a_corrupted_score_part_is_never_published(matrix: Matrix) -> None:
    store = copy_of(matrix)
    for prefix in ("catalogs", "reports", "runs"):
        store.delete(prefix)
    part = next(k for k in store.list("scores/synthetic") if k.endswith(".parquet"))
    flip_a_bit(store, part)
    ended = matrix.start().end()
    assert ended.code == 1
    assert f"{part} differs from what its receipt says" in ended.said
    assert "galflow verify --discard" in ended.said
    assert "Traceback" not in ended.said
    assert list_runs(store) == []
    assert matrix.galflow("verify", "--root", store.root, "--discard").returncode == 1
    again = matrix.start().end()
    assert again.code == 0, again.said
    matrix.require_same()
    matrix.line("a corrupted score part in the store", "not published; verify --discard; same catalogue")
