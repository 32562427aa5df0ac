"""A store that was moved: nothing in it knows where it lay, and what is asked of it, and made in it, is right."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from galflow.storage.receipts import list_runs
from galflow.storage.store import Store

if TYPE_CHECKING:
    from conftest import Command, Truth, WriteSpec

Here = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def moved(truth: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the store elsewhere."""
    root = tmp_path_factory.mktemp("moved") / "elsewhere"
    shutil.copytree(truth.root, root)
    return root


def test_no_product_says_where_the_store_lies(truth: Truth) -> None:
    root = str(truth.root).encode()
    looked = [p for p in truth.root.rglob("*") if p.is_file()]
    assert {".json", ".parquet", ".html", ".fits"} <= {p.suffix for p in looked}
    assert [str(p.relative_to(truth.root)) for p in looked if root in p.read_bytes()] == []


def test_show_and_lineage_speak_of_where_it_lies_now(truth: Truth, moved: Path, here: Here) -> None:
    run = truth.run.manifest.run
    code, output, _ = here("show", run, "--root", str(moved), "--json")
    shown = json.loads(output)
    assert code == 0
    assert shown["catalog"].startswith(f"file://{moved}/catalogs/")
    assert all(uri.startswith(f"file://{moved}/models/") for uri in shown["models"].values())
    assert Path(shown["report"].removeprefix("file://")).is_file()
    row = next(i for i, second in enumerate(~truth.columns["is_primary"]) if second)
    object_id = truth.columns["object_id"][row]
    code, output, _ = here("lineage", run, str(object_id), "--root", str(moved), "--json")
    found = json.loads(output)
    assert code == 0
    expected = {
        (tile, int(number))
        for tile, number, i in zip(*(truth.columns[n] for n in ("tile", "row", "object_id")), strict=True)
        if i == object_id
    }
    assert {(r["tile"], r["row"]) for r in found} >= expected
    assert len(expected) > 1
    assert {model["fingerprint"] != "" for r in found for model in r["models"].values()} == {True}


@pytest.mark.full
def test_a_run_in_the_moved_store_makes_nothing_anew(
    truth: Truth, moved: Path, galflow: Command, prefect_api: dict[str, str], write_spec: WriteSpec, here: Here
) -> None:
    document: dict[str, Any] = copy.deepcopy(truth.run.document)
    code, output, _ = here("run", str(write_spec(document)), "--root", str(moved))
    assert (code, "Nothing to do" in output) == (0, True)
    document["output"]["top"] = 4
    process = galflow("run", str(write_spec(document)), "--root", str(moved), **prefect_api)
    assert process.returncode == 0, process.stderr
    before = truth.run.manifest.run
    (after,) = set(list_runs(Store.open(moved))) - {before}
    code, output, _ = here("diff", before, after, "--root", str(moved), "--json")
    found = json.loads(output)
    assert code == 0
    assert found["models"] == []
    assert found["tiles"] == {"unchanged": 3, "changed": 0, "added": 0, "removed": 0}
    objects = int(truth.columns["is_primary"].sum())
    assert (found["objects"]["before"], found["objects"]["after"], found["objects"]["same"]) == (objects,) * 3
