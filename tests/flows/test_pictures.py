"""A run on a folder of PNG and JPEG pictures: its models see them linearly, and card, report and plan say so."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image as Picture
from scipy.stats import binomtest

import galflow
from galflow.photometry import LinearStretch

if TYPE_CHECKING:
    from conftest import Finished, RunToItsEnd, WriteSpec

pytestmark = pytest.mark.full  # a run of its own

SIDE = 16
LAYERS = ("wide", "deep")


def draw(folder: Path, count: int) -> None:
    """Round galaxies on a grey sky, stretched for display: half of them PNG, half of them JPEG."""
    for layer in LAYERS:
        (folder / layer).mkdir(parents=True)
    for i in range(count):
        rng = np.random.default_rng(i)
        side = SIDE + 4 if i % 10 == 0 else SIDE  # some are larger, and are cropped
        y, x = np.mgrid[:side, :side] - side // 2
        light = rng.uniform(60, 200) * np.exp(-(x**2 + y**2) / (2 * rng.uniform(1.5, 3.0) ** 2))
        pixels = 20 + light[..., None] * rng.uniform(0.6, 1.0, 3) + rng.normal(0, 4, (side, side, 3))
        picture = Picture.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        layer = folder / LAYERS[i % 5 == 0]
        picture.save(layer / f"{i:03d}.{'jpg' if i % 2 else 'png'}", **({"quality": 95} if i % 2 else {}))


def document_of(folder: Path) -> dict[str, Any]:
    options = {"root": str(folder), "pattern": "*/*", "pixel_scale_arcsec": 0.2, "tile_bits": 1, "crop": SIDE}
    return {
        "name": "pictures",
        "survey": {"kind": "stamps", "options": options | {"folder_column": "layer"}},
        "cutouts": {"size": SIDE},
        "models": [{"name": "pca", "model": "pca.PCA", "options": {"components": 4}}],
        "training": {"reference_fraction": 0.3},
        "cluster": {"workers": 1},
        "output": {"top": 3, "group_by": "layer"},
    }


@pytest.fixture(scope="module")
def finished(
    run_to_its_end: RunToItsEnd, prefect_api: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Finished:
    folder = tmp_path_factory.mktemp("pictures")
    draw(folder / "stamps", 80)
    return run_to_its_end(folder, document_of(folder / "stamps"), **prefect_api)


def page(finished: Finished) -> str:
    pages = (Path(finished.root) / f"reports/{finished.manifest.run}").glob("*.html")
    return "".join(path.read_text() for path in sorted(pages))


def test_card_and_report_say_linear(finished: Finished) -> None:
    model = galflow.load_model(finished.manifest.models["pca"])
    assert isinstance(model.stretch, LinearStretch)
    assert model.stretch.white == model.card.display_white == (255.0, 255.0, 255.0)
    assert json.loads(model.card.stretch.model_dump_json())["kind"] == "linear"
    text = " ".join(page(finished).split())
    assert (
        "Models see pixels in a linear stretch, from black at 0 to white at 255, since the survey&#39;s pictures "
        "were stretched for display already." in text
    )
    assert "linear from black at 0 to white at 255, as the pictures were stretched for display" in text


def test_scores_and_pictures_are_those_of_the_files(finished: Finished) -> None:
    """No stretch but a division by 255, and what is shown is the picture that was given."""
    model = galflow.load_model(finished.manifest.models["pca"])
    run = galflow.open_run(finished.root)
    folder = Path(finished.document["survey"]["options"]["root"])
    top = run.top(5, columns=["object_id", "file_name", "pca_reconstruction"])
    for row in top.to_dict("records"):
        with Picture.open(folder / row["file_name"]) as picture:
            whole = np.asarray(picture)
        edge = (len(whole) - SIDE) // 2
        pixels = whole[edge : edge + SIDE, edge : edge + SIDE]
        scored = galflow.score(model, np.moveaxis(pixels, 2, 0)[None].astype(np.float32))
        assert scored["reconstruction"][0] == pytest.approx(row["pca_reconstruction"], rel=1e-4)
        np.testing.assert_array_equal(run.cutout(row["object_id"]).picture(), pixels)


def test_the_report_says_how_pictures_were_prepared(finished: Finished) -> None:
    sizes = galflow.open_run(finished.root).catalog.num_rows
    assert f"of {sizes} ready-made images {sizes // 10} cropped" in " ".join(page(finished).split())


def test_plan_says_so_and_an_asinh_is_another_model(
    finished: Finished, here: Callable[..., tuple[int, str, str]], write_spec: WriteSpec
) -> None:
    code, output, errors = here("plan", str(write_spec(finished.document)), "--root", finished.root)
    assert code == 0
    assert "Nothing to do" in output
    assert "models see them in a linear stretch" in " ".join(errors.split())
    twice = finished.document | {"stretch": {"softening_sigma": 3.0}}
    code, output, errors = here("plan", str(write_spec(twice)), "--root", finished.root, "--json")
    todo = {(u["stage"], u["name"]) for u in json.loads(output)["units"] if not u["done"]}
    assert {stage for stage, _ in todo} >= {"train", "score"}
    assert "ingest" not in {stage for stage, _ in todo}
    assert "stretched by an asinh again" in " ".join(errors.split())


def test_the_report_has_the_layers_side_by_side(finished: Finished) -> None:
    table = galflow.open_run(finished.root).catalog.to_pandas()
    table = table[table["is_primary"] & table["anomaly_rank"].notna()]
    found = re.findall(
        r"<tr><td>(\w+)</td><td class=\"n\">(\d+)</td><td class=\"n\">([-+.\d]+)</td><td class=\"n\">(\d+)</td>"
        r"<td class=\"n\">([.\d]+)% \[([.\d]+)%, ([.\d]+)%\]</td></tr>",
        page(finished),
    )
    assert [name for name, *_ in found] == list(LAYERS)
    for name, objects, median, top, share, low, high in found:
        own = table[table["layer"] == name]
        among = int((own["anomaly_rank"] <= 0.05 * len(table)).sum())
        assert (int(objects), int(top)) == (len(own), among)
        # Of a few objects a median between two is not one number.
        ordered = np.sort(own["anomaly_score_sigma"])
        middle = len(ordered) // 2
        assert ordered[middle - 1] - 0.02 <= float(median) <= ordered[min(middle + 1, len(ordered) - 1)] + 0.02
        interval = binomtest(among, len(own)).proportion_ci(0.95, method="wilson")
        assert [float(share), float(low), float(high)] == pytest.approx(
            [100 * among / len(own), 100 * interval.low, 100 * interval.high], abs=0.06
        )
    assert "Distribution of the ranking score in each group of layer" in page(finished)


def test_a_column_that_no_picture_has_is_refused_before_any_work(
    finished: Finished, here: Callable[..., tuple[int, str, str]], write_spec: WriteSpec
) -> None:
    asked = finished.document | {"output": {"group_by": "depth"}}
    code, _, errors = here("plan", str(write_spec(asked)), "--root", finished.root)
    assert code == 2
    assert "output.group_by: no object of survey stamps has a column 'depth'; expected one of file" in errors
