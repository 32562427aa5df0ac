"""A triage learnt from the held-out objects of a small survey, and how it is judged."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from galflow.cutouts.batches import PIXELS_ALONE, CutoutRows
from galflow.cutouts.cut import cut_tile
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.painted import HeldOut, held_out_objects
from galflow.scores.triage import CLASSES, GALAXY, Triage
from galflow.scores.triage_trial import Examples, judge, learn_triage
from galflow.spec.run import CutoutSpec, SurveySpec
from galflow.storage.store import Store
from galflow.surveys.resolve import open_survey


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> HeldOut:
    store = Store.open(tmp_path_factory.mktemp("triage"))
    options = {"tiles": 2, "tile_size": 420, "objects_per_tile": 110, "overlap_pixels": 0, "anomaly_fraction": 0.0}
    survey = open_survey(SurveySpec(kind="synthetic", options=options))
    spec = CutoutSpec(size=24)
    sets = [CutoutSet(store, cut_tile(store, survey, tile, spec, tile.name).product) for tile in survey.tiles()]
    return held_out_objects(sets, PIXELS_ALONE, None, 1000, 0)


def _brightest(tiles: Sequence[CutoutRows]) -> dict[str, np.ndarray]:
    """A score: the logarithm of the highest pixel."""
    return {"m_s": np.concatenate([np.log1p(np.abs(rows.flux).max((1, 2, 3))).astype(np.float64) for rows in tiles])}


@pytest.fixture(scope="module")
def learnt(objects: HeldOut) -> dict[str, object]:
    return learn_triage(objects, _brightest(objects.tiles), _brightest, 0)


def test_the_half_that_judges_is_told_apart_better_than_by_the_priors(learnt) -> None:  # type: ignore[no-untyped-def]
    judged = learnt["judged"]
    assert judged["artefact_auroc"] > 0.95
    assert min(judged["artefact_auroc_by_kind"].values()) > 0.85
    assert judged["log_loss"] < 0.8 * judged["log_loss_of_priors"]
    confusion = judged["confusion"]
    assert set(confusion) == set(CLASSES), "this survey says how wide its PSF is, so stars can be painted"
    assert sum(sum(row.values()) for row in confusion.values()) == judged["examples"]
    for name in ("artefact", "star", GALAXY):
        assert confusion[name][name] > 0.5 * sum(confusion[name].values())
    assert confusion[GALAXY]["artefact"] < 0.1 * sum(confusion[GALAXY].values())


def test_what_is_published_is_a_whole_triage(learnt) -> None:  # type: ignore[no-untyped-def]
    triage = Triage.from_json(learnt["model"])
    assert triage.names[-1] == "m_s_sigma"
    assert len(triage.names) == len(triage.centre) == len(triage.scale)
    assert triage.weights.shape == (len(triage.kinds), 2 * len(triage.names))
    assert np.isfinite(triage.weights).all()


def test_judging_by_hand() -> None:
    """A triage that knows two kinds by one feature, and four examples."""
    triage = Triage(
        ("f",), np.zeros(1), np.ones(1), ("galaxy", "trail"), np.array([[0.0, 0.0], [4.0, 0.0]]), np.array([0.0, 0.0])
    )
    features = np.sinh(np.array([[-1.0], [1.0], [1.0], [-1.0]]))
    kind = np.array(["galaxy", "galaxy", "trail", "trail"], dtype=object)
    found = judge(triage, Examples(features, np.zeros(4, np.int64), kind, np.ones(4, bool)))
    assert found["confusion"]["galaxy"] | found["confusion"]["artefact"] == {
        "artefact": 1, "blend": 0, "star": 0, "galaxy": 1, "interesting": 0
    }  # fmt: skip
    assert found["artefact_auroc"] == pytest.approx(0.5)
    each = (np.log1p(np.exp(4)) + np.log1p(np.exp(-4))) / 2
    assert found["log_loss"] == pytest.approx(each)
    share = np.array([0.1, 0.6]) / 0.7
    assert found["log_loss_of_priors"] == pytest.approx(-(share * np.log(share)).sum())


def test_stars_are_not_learnt_where_nobody_knows_how_small_they_are(objects: HeldOut) -> None:
    from dataclasses import replace

    unknown = replace(objects, stellar_fwhm_pixels=tuple(np.nan for _ in objects.tiles))
    found = learn_triage(unknown, _brightest(objects.tiles), _brightest, 0)
    flagged = any((flags & 65536).any() for flags in objects.flags)
    assert ("star" in Triage.from_json(found["model"]).classes) == flagged
