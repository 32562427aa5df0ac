from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from galflow.catalog.published import read_files
from galflow.cutouts.cutout_set import CutoutSet
from galflow.report.inputs import ReportInputs
from galflow.report.trimmed import Trimmed, trimmed_counts
from galflow.report.verdicts import left_out_sentences

NOTHING = {"training": {}, "reference": {"objects": 0, "of": 40, "above": None}}

BuildReport = Callable[[ReportInputs], bytes]


def test_the_card_names_the_objects_that_the_model_is_without(finished_run: ReportInputs) -> None:
    card = finished_run.models["vae"].card
    found = card.training["left_out"]
    assert found["of"] == card.training["counts"]["train"]
    assert found["objects"] == found["of"] // 10 == sum(map(len, found["by_tile"].values())) > 0
    for receipt in finished_run.stages["cutouts"].receipts:
        cutouts = CutoutSet(finished_run.store, receipt.product)
        own = found["by_tile"].get(cutouts.attributes["tile"], [])
        assert [one for _, one, _ in own] == cutouts.read("object_id")[[row for row, _, _ in own]].tolist()
        assert [score for _, _, score in own] == sorted((score for _, _, score in own), reverse=True)
    assert "left_out" not in finished_run.models["pixelcnn"].card.training
    (receipt,) = (r for r in finished_run.stages["models"].receipts if "/vae/" in r.product)
    assert receipt.details["left_out"] == {"objects": found["objects"], "of": found["of"]}


def test_what_trained_and_what_was_left_out_have_no_p(finished_run: ReportInputs) -> None:
    """Who is left out was chosen by the score: to compare it with objects that nobody chose would say nothing."""
    table = read_files(finished_run.store, finished_run.catalog).to_pandas()
    left_out = finished_run.models["vae"].card.training["left_out"]["by_tile"]
    own = [row in {r for r, _, _ in left_out.get(tile, [])} for tile, row in zip(table.tile, table.row, strict=True)]
    assert (table.split[own] == "train").all()
    assert table.vae_neg_elbo_p[own].isna().all()
    assert table.anomaly_rank[own].notna().all()


def test_manifest_and_report_say_what_was_left_out_and_show_it(
    build_report: BuildReport, finished_run: ReportInputs
) -> None:
    found = finished_run.models["vae"].card.training["left_out"]
    counts = finished_run.findings["left_out"]
    assert counts["training"] == {"vae": {"objects": found["objects"], "of": found["of"]}}
    assert counts["reference"]["objects"] == 0
    page = build_report(finished_run).decode()
    assert f"vae {found['objects']} of {found['of']} objects." in page
    assert f"; trained without {found['objects']}<" in page
    section = page.partition('<section id="left">')[2].partition("</section>")[0]
    assert section.count("<h3>#") == min(found["objects"], finished_run.spec.output.top)
    assert " vae <" in section


def test_without_any_the_report_has_no_such_section(build_report: BuildReport, finished_run: ReportInputs) -> None:
    vae = finished_run.models["vae"]
    plain = {k: v for k, v in vae.card.training.items() if k != "left_out"}
    whole = replace(vae, card=vae.card.model_copy(update={"training": plain}))
    inputs = replace(
        finished_run,
        models={**finished_run.models, "vae": whole},
        findings={**finished_run.findings, "left_out": NOTHING},
    )
    page = build_report(inputs).decode()
    assert 'id="left"' not in page
    assert "trained without" not in page


def model(**by_tile: list[list[Any]]) -> Any:
    left_out = {"objects": sum(map(len, by_tile.values())), "of": 50, "by_tile": by_tile}
    return SimpleNamespace(card=SimpleNamespace(training={"left_out": left_out}))


def test_left_out_rows_are_recognised_by_tile_and_row_or_as_held_out_beyond_the_reference() -> None:
    models = {"a": model(t1=[[3, 30, 9.0]], t2=[[1, 10, 5.0]]), "b": model(t1=[[3, 30, 8.0]])}
    ranking: Any = SimpleNamespace(reference=np.array([0.0, 1.0, 2.5]), left_out=2)
    counts = trimmed_counts(models, ranking)
    assert counts["training"] == {"a": {"objects": 2, "of": 50}, "b": {"objects": 1, "of": 50}}
    assert counts["reference"] == {"objects": 2, "of": 5, "above": 2.5}
    found = Trimmed.of(models, counts)
    table = pa.table(
        {
            "tile": ["t1", "t1", "t2", "t2", "t1", "t1"],
            "row": [3, 1, 1, 3, 7, 8],
            "split": ["train", "train", "train", "reference", "reference", None],
            "anomaly_score": [0.0, 9.0, 0.0, 2.5, 2.6, 9.0],
        }
    )
    assert found.among(table).tolist() == [True, False, True, False, True, False]
    assert [found.of_what(*key) for key in (("t1", 3), ("t2", 1), ("t1", 7))] == ["a, b", "a", "the reference"]
    assert not Trimmed().any
    assert not Trimmed().among(table).any()


@pytest.mark.parametrize("reference", [0, 3])
def test_in_words(reference: int) -> None:
    counts = {"training": {}, "reference": {"objects": reference, "of": 1200, "above": 4.0 if reference else None}}
    said = left_out_sentences(counts)
    assert len(said) == bool(reference)
    assert not reference or said[0].startswith(
        "Left out of the reference (scoring.trim_reference): 3 of 1,200 held-out"
    )
