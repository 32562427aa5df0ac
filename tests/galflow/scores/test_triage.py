"""The triage as a rule: what it learns, what flags do to it, and that it is plain numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from galflow.cutouts.flags import Flag
from galflow.errors import DataError
from galflow.scores.triage import CLASSES, KIND_CLASS, Triage, fitted_triage

KINDS = sorted(KIND_CLASS)
NAMES = tuple(f"f{i}" for i in range(6))


def _examples(seed: int, each: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Each kind at a place of its own, some features of a tenth of them unknown."""
    places = 4.0 * np.random.default_rng(0).normal(size=(len(KINDS), len(NAMES)))
    rng = np.random.default_rng(seed)
    kind = np.repeat(np.array(KINDS, dtype=object), each)
    features = np.repeat(places, each, axis=0) + rng.normal(size=(len(kind), len(NAMES)))
    features[rng.random(features.shape) < 0.02] = np.nan
    return features, kind


@pytest.fixture(scope="module")
def triage() -> Triage:
    return Triage.fit(NAMES, *_examples(1))


def _plain(features: np.ndarray) -> np.ndarray:
    return np.zeros(len(features), np.int64)


def test_it_tells_classes_apart_that_it_has_not_seen(triage: Triage) -> None:
    features, kind = _examples(2)
    found = triage.probabilities(features, _plain(features))
    np.testing.assert_allclose(found.sum(axis=1), 1)
    most = [CLASSES[i] for i in found.argmax(axis=1)]
    assert np.mean([m == KIND_CLASS[k] for m, k in zip(most, kind, strict=True)]) > 0.9


def test_it_is_plain_numbers_that_give_the_same_again(triage: Triage) -> None:
    features, _ = _examples(3)
    again = Triage.from_json(json.loads(json.dumps(triage.to_json())))
    np.testing.assert_array_equal(
        again.probabilities(features, _plain(features)), triage.probabilities(features, _plain(features))
    )
    assert fitted_triage({"triage": None}) is None
    assert fitted_triage({"triage": {"model": triage.to_json()}}).names == NAMES  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("flag", "name", "odds"),
    [(Flag.TRAIL, "artefact", 30), (Flag.SPIKE, "artefact", 30), (Flag.BELOW_SKY, "artefact", 30),
     (Flag.NOISE_STEP, "artefact", 30), (Flag.SHIFTED, "artefact", 30), (Flag.STAR, "star", 100),
     (Flag.BRIGHT_NEIGHBOUR, "blend", 10), (Flag.EDGE, "artefact", 1)],
)  # fmt: skip
def test_a_flag_multiplies_the_odds_of_its_class(triage: Triage, flag: Flag, name: str, odds: float) -> None:
    features, _ = _examples(4)
    before = triage.probabilities(features, _plain(features))[:, CLASSES.index(name)]
    after = triage.probabilities(features, _plain(features) | int(flag))[:, CLASSES.index(name)]
    unsure = (before > 1e-3) & (before < 0.9)
    assert unsure.sum() > 5
    np.testing.assert_allclose((after / (1 - after))[unsure], (odds * before / (1 - before))[unsure], rtol=1e-6)


def test_of_what_was_not_measured_nothing_is_said(triage: Triage) -> None:
    features, _ = _examples(5)
    features[0] = np.nan
    found = triage.probabilities(features, _plain(features))
    assert np.isnan(found[0]).all()
    assert np.isfinite(found[1:]).all()


def test_a_class_without_examples_is_not_known() -> None:
    features, kind = _examples(1)
    without = Triage.fit(NAMES, features[kind != "star"], kind[kind != "star"])
    assert "star" not in without.classes
    assert (without.probabilities(features, _plain(features))[:, CLASSES.index("star")] == 0).all()
    two = np.isin(kind, ["galaxy", "trail"])
    found = Triage.fit(NAMES, features[two], kind[two]).probabilities(features[two], _plain(features[two]))
    assert np.mean((found[:, 0] > 0.5) == (kind[two] == "trail")) > 0.95
    with pytest.raises(DataError, match="was given the kinds star; give galaxies and something else"):
        Triage.fit(NAMES, features[kind == "star"], kind[kind == "star"])


def test_rare_kinds_weigh_as_their_class_is_assumed_to() -> None:
    """Twice as many examples of a kind say nothing of how many there are on the sky."""
    features, kind = _examples(1)
    more = np.concatenate([np.arange(len(kind)), np.flatnonzero(kind == "trail")])
    plain, doubled = (Triage.fit(NAMES, features[i], kind[i]) for i in (np.arange(len(kind)), more))
    seen, _ = _examples(6)
    difference = plain.probabilities(seen, _plain(seen)) - doubled.probabilities(seen, _plain(seen))
    assert np.abs(difference).mean() < 0.01
