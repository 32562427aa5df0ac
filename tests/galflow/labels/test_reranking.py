"""Ranking anew: what labels teach is found, the rule of what is shown next is as it says, and the gain adds up."""

from __future__ import annotations

import numpy as np
import pytest

from galflow.errors import SpecError
from galflow.labels.reranking import FIRST, MIXED, PROMISING, RANKED, UNCERTAIN, FeatureScale, Gain, Reranked


def sky(n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    features, odd = draw.normal(size=(n, 8)), draw.random(n) < 0.1
    features[odd, 2] += 4
    return features, odd


def labelled(features: np.ndarray, odd: np.ndarray, count: int) -> Reranked:
    scaled, labels = FeatureScale.of(features)(features), dict[int, bool]()
    for shown in range(count):
        hidden = np.isin(np.arange(len(odd)), list(labels))
        (row,) = Reranked(scaled, labels).next_rows(1, hidden, shown)
        labels = labels | {row: bool(odd[row])}
    return Reranked(scaled, labels)


def test_forty_labels_bring_what_is_like_them_to_the_front() -> None:
    features, odd = sky()
    again = labelled(features, odd, 40)
    assert odd[:50].sum() <= 8, "the plain order knows nothing"
    assert odd[again.order[: odd.sum()]].mean() > 0.8
    gain = Gain.of(again)
    assert gain.found[-1] == sum(again.labels.values()) > gain.plain[-1]
    assert len(gain.found) == len(gain.plain) == 40
    assert (np.diff(gain.found) >= 0).all()


def test_labelled_objects_stand_where_people_put_them() -> None:
    features, odd = sky()
    again = labelled(features, odd, 30)
    yes = [row for row, interesting in again.labels.items() if interesting]
    no = [row for row, interesting in again.labels.items() if not interesting]
    assert set(again.order[: len(yes)]) == set(yes)
    assert set(again.order[len(again.order) - len(no) :]) == set(no)


def test_what_is_shown_next_follows_the_rule() -> None:
    features, odd = sky()
    again = labelled(features, odd, 20)
    probability, hidden = again.probability, np.isin(np.arange(len(odd)), list(again.labels))
    assert probability is not None
    free = np.flatnonzero(~hidden)
    turn = MIXED.index(PROMISING)
    assert again.next_rows(1, hidden, 21 + turn) == [free[np.argmax(probability[free])]]
    turn = MIXED.index(UNCERTAIN)
    assert again.next_rows(1, hidden, 21 + turn) == [free[np.argmin(np.abs(probability[free] - 0.5))]]
    assert again.next_rows(3, hidden, 20, (RANKED,)) == list(free[:3])
    assert len(set(again.next_rows(50, hidden, 20))) == 50
    assert not hidden[again.next_rows(50, hidden, 20)].any()
    with pytest.raises(SpecError, match="expected promising, uncertain"):
        again.next_rows(1, hidden, 20, ("best",))


def test_without_two_kinds_of_label_the_runs_order_stands() -> None:
    features, _ = sky(20)
    again = Reranked(FeatureScale.of(features)(features), {3: False, 5: False})
    assert again.probability is None
    assert list(again.order) == [*(r for r in range(20) if r not in (3, 5)), 3, 5]
    assert Gain.of(again).found == (0, 0)
    assert Reranked(again.scaled, {}).next_rows(40, np.zeros(20, bool), 0)[0] == 0
    assert Reranked(again.scaled, {0: True, 1: False}).next_rows(1, np.arange(20) < 2, min(2, FIRST - 1)) == [2]


def test_unknown_numbers_count_for_nothing() -> None:
    features, odd = sky()
    features[::7, 2] = np.nan
    worse = np.c_[features, np.full(len(features), np.nan), np.ones(len(features))]
    scaled = FeatureScale.of(worse)(worse)
    assert np.isfinite(scaled).all()
    assert (scaled[:, 8:] == 0).all()
    assert (scaled[::7, 2] == 0).all()
    assert Reranked(scaled, {0: True, 1: False, 2: bool(odd[2])}).probability is not None
