"""Where products lie, and that nobody but galflow.storage.layout spells a key out."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from galflow.storage import layout
from galflow.storage.layout import PRODUCT_KINDS, own_key, product_of, receipt_key

ROOT = Path(__file__).resolve().parents[3]
TILE = ("s.zarr", "dr1", "9813/402", "0123456789abcdef")
PRODUCTS = [
    layout.cutouts_product(*TILE), layout.join_product(*TILE), layout.scores_product(*TILE),
    layout.model_product("vae", "f00"), layout.comparison_product("night", "f00"),
    layout.catalog_product("c", "night-1"), layout.supplement_of(layout.catalog_product("c", "night-1")),
    layout.report_product("night-1"), layout.residuals_product(*TILE), layout.residual_objects_product("s.zarr", "f00"),
]  # fmt: skip


@pytest.mark.parametrize("product", PRODUCTS)
def test_every_product_is_found_again_from_its_keys(product: str) -> None:
    own = own_key(product)
    for key in (product, receipt_key(product), own, receipt_key(own)):
        assert product_of(key) == key.removesuffix(layout.RECEIPT_SUFFIX)
    if "." not in product.rpartition("/")[2]:
        assert product_of(f"{product}/a/b.json") == product
    assert product.split("/")[0] in PRODUCT_KINDS


def test_pages_lie_in_their_report() -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    pages = [layout.report_page(layout.report_product("r-1")), layout.performance_page("r-1", at)]
    assert pages == ["reports/r-1/index.html", "reports/r-1/performance-20260102T030405.html"]
    assert {product_of(page) for page in pages} == {"reports/r-1"}


def test_runs_are_told_by_their_manifests() -> None:
    keys = [layout.manifest_key("a"), layout.probe_key(), layout.manifest_key("b")]
    assert layout.runs_among(keys) == ["a", "b"]


def test_what_a_probe_leaves_is_a_product_that_can_be_collected() -> None:
    probe = layout.probe_key()
    assert product_of(probe) == product_of(f"{probe}/run") == probe


@pytest.mark.parametrize(
    ("key", "product"),
    [
        ("cutouts/s/dr1/9813/402/f00.zarr/flux/c/0/0", "cutouts/s/dr1/9813/402/f00.zarr"),
        ("cutouts/s/dr1/t/f00.zarr.receipt.json", "cutouts/s/dr1/t/f00.zarr"),
        ("models/wgan/f00/.checkpoint/checkpoint.pt", "models/wgan/f00"),
        ("models/wgan/f00.receipt.json", "models/wgan/f00"),
        ("reports/demo-1/index.html", "reports/demo-1"),
        ("catalogs/c/v1.2-00/part-00000.parquet", "catalogs/c/v1.2-00"),
        ("catalogs/c/v1.2-00_supplement.receipt.json", "catalogs/c/v1.2-00_supplement"),
        ("reports/v1.2-00/index.html", "reports/v1.2-00"),
        ("scores/a.parquet/1/t/f00.parquet.receipt.json", "scores/a.parquet/1/t/f00.parquet"),
        ("cutouts/a.zarr/b.zarr/t/f00.zarr/zarr.json", "cutouts/a.zarr/b.zarr/t/f00.zarr"),
        ("residuals/s/dr1/9813/402/f00.zarr/flux/c/0/0/0/0", "residuals/s/dr1/9813/402/f00.zarr"),
        ("residual_objects/s/f00.parquet.receipt.json", "residual_objects/s/f00.parquet"),
        ("selections/s/f00.parquet.receipt.json", "selections/s/f00.parquet"),
        ("runs/demo-1/manifest.json", None),
        ("notes.txt", None),
    ],
)
def test_a_key_says_its_product(key: str, product: str | None) -> None:
    assert product_of(key) == product


def test_no_other_file_spells_a_key_out() -> None:
    spelt = re.compile(rf"""["'](?:{"|".join((*PRODUCT_KINDS, "runs", "leases"))})/""")
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for folder in ("galflow", "tasks", "flows")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if spelt.search(line) and path.name != "layout.py"
    ]
    assert not found
