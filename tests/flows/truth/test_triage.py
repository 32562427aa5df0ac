"""What a run published of its triage, against its own columns, the painted copies and the report."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from conftest import Truth

CLASSES = ("artefact", "blend", "star", "galaxy", "interesting")
APART = ("artefact", "star", "blend")
EDGE, SATURATED, TRAIL = 1, 4, 8


def probabilities(truth: Truth) -> np.ndarray:
    """(row, class)"""
    return np.stack([truth.columns[f"{name}_p"] for name in CLASSES], axis=1)


def test_scored_rows_have_a_class_and_probabilities_that_sum_to_one(truth: Truth) -> None:
    columns, found = truth.columns, probabilities(truth)
    scored = columns["outcome"] == "scored"
    assert scored.sum() > 200
    np.testing.assert_allclose(found[scored].sum(axis=1), 1, atol=1e-9)
    assert (found[scored] >= 0).all()
    np.testing.assert_array_equal(columns["triage"][scored], np.array(CLASSES, object)[found[scored].argmax(axis=1)])
    assert np.isnan(found[~scored]).all()


def test_masked_defects_and_painted_ones_are_more_probably_artefacts(truth: Truth) -> None:
    columns, artefact = truth.columns, probabilities(truth)[:, 0]
    spoilt = (columns["flags"] & (SATURATED | TRAIL)) != 0
    clean = columns["flags"] == 0
    assert np.nanmedian(artefact[spoilt]) > np.nanquantile(artefact[clean], 0.9)
    planted = truth.planted
    kinds = np.array(planted["planted_kind"].to_pylist())
    defects = np.isin(kinds, ["trail", "dead_columns", "edge", "saturated_star", "cosmic_ray", "doubled_image"])
    told = planted["artefact_p"].to_pandas().to_numpy(float)
    assert defects.sum() == 3, "four copies a tile, of which a trail is the only defect"
    assert np.median(told[defects]) > np.nanquantile(artefact[clean], 0.9)


def test_the_half_that_judged_is_kept_and_shown(truth: Truth) -> None:
    (key,) = truth.run.manifest.products["ranking"]
    product = re.sub(r"\.receipt\.json$", "", key.removeprefix(f"{truth.root}/"))
    (path,) = [p for p in truth.root.glob("rankings/**/*.json") if p.name in product] or [truth.root / product]
    judged = json.loads(path.read_text())["triage"]["judged"]
    assert judged["log_loss"] < judged["log_loss_of_priors"]
    assert 0.5 < judged["artefact_auroc"] <= 1
    text = report(truth)
    assert f"in {judged['artefact_auroc']:.3f} of all pairs" in text
    for name, taken in judged["confusion"].items():
        assert f'>{name}</td><td class="n">{sum(taken.values())}</td>' in text


def report(truth: Truth) -> str:
    pages = [path for name in ("lists", "scores") for path in truth.root.glob(f"reports/*/{name}.html")]
    return "".join(path.read_text() for path in pages)


def test_the_report_counts_what_ranks_highest_and_lists_it_apart(truth: Truth) -> None:
    columns, text = truth.columns, report(truth)
    primary = columns["is_primary"] & np.isfinite(columns["anomaly_rank"])
    order = np.flatnonzero(primary)[np.argsort(columns["anomaly_rank"][primary], kind="stable")]
    counts = {name: int((columns["triage"][order[:3]] == name).sum()) for name in CLASSES}
    sentence = re.search(r"Of the 3 objects that rank highest (.*?)\.", text)
    assert sentence is not None
    assert [int(n) for n in re.findall(r"\d+", sentence[1])] == [n for n in counts.values() if n]
    known = np.array([name is not None for name in columns["triage"]])
    apart = np.isin(columns["triage"], APART) | (known & ((columns["flags"] & EDGE) != 0))
    for section, chosen in (("top", order[~apart[order]][:3]), ("apart", order[apart[order]][:3])):
        part = text.partition(f'<section id="{section}">')[2].partition("</section>")[0]
        ranks = [int(n) for n in re.findall(r"<span>#(\d+)", part)]
        assert ranks == columns["anomaly_rank"][chosen].astype(int).tolist()
