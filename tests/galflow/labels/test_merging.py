"""What several people's words mean together, and how labels find their objects in another release."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from galflow.catalog.label_columns import label_columns
from galflow.labels.merging import Placement, as_table, merged
from galflow.labels.records import DISPUTED, Label

START = datetime(2026, 1, 1, tzinfo=UTC)


def said(
    number: int, by: str, what: str | None, object_id: int = 1, release: str = "1", ra: float | None = 10.0
) -> Label:
    at, dec = START + timedelta(minutes=number), None if ra is None else 20.0
    return Label(object_id=object_id, label=what, by=by, at=at, survey="s", release=release, run="r", ra=ra, dec=dec)


def judged(*labels: Label):
    return merged((one.object_id, one) for one in labels)


def test_a_persons_latest_word_counts_and_most_people_decide() -> None:
    words = [
        said(0, "ann", "normal"),
        said(1, "bob", "normal"),
        said(2, "cy", "interesting"),
        said(3, "ann", "interesting"),
    ]
    (found,) = judged(*words).values()
    assert (found.label, found.by, found.at) == ("interesting", ("ann", "cy"), START + timedelta(minutes=3))
    assert found.agreement == pytest.approx(2 / 3)
    assert found.told == "interesting: ann, cy; normal: bob"


def test_a_tie_is_a_dispute_that_stays_visible() -> None:
    (found,) = judged(said(0, "ann", "normal"), said(1, "bob", "interesting")).values()
    assert (found.label, found.by, found.agreement) == (DISPUTED, ("ann", "bob"), 0.5)
    assert found.told == "interesting: bob; normal: ann"


def test_who_takes_a_word_back_says_nothing() -> None:
    assert judged(said(0, "ann", "normal"), said(1, "ann", None)) == {}
    (found,) = judged(said(0, "ann", "normal"), said(1, "ann", None), said(2, "bob", "artefact")).values()
    assert (found.label, found.agreement) == ("artefact", 1.0)


def placed(label: Label, ids: list[int], ra: list[float], kind: type = np.int64) -> int | None:
    placement = Placement([label], radius_arcsec=1.0)
    for i in range(len(ids)):  # a part of the catalogue after another
        placement.add(np.array(ids[i : i + 1], kind), np.array(ra[i : i + 1]), np.array([20.0]))
    return placement.object_of(label)


def test_a_label_follows_its_object_by_id_then_by_position() -> None:
    arcsec = 1 / 3600 / np.cos(np.deg2rad(20))
    one = said(0, "ann", "normal", object_id=7)
    assert placed(one, [7, 8], [10.0 + 5 * arcsec, 10.0]) == 7, "the id tells, though it moved a little"
    assert placed(one, [8, 9], [10.0 + 0.8 * arcsec, 10.0 + 0.5 * arcsec]) == 9, "the nearest within the radius"
    assert placed(one, [8], [10.0 + 1.2 * arcsec]) is None
    assert placed(one, [7, 8], [40.0, 10.0]) == 8, "the id names another object now"
    assert placed(said(0, "ann", "normal", object_id=7, ra=None), [7, 8], [40.0, 10.0]) == 7, "without a position"
    assert (
        placed(said(0, "ann", "x", object_id=2**63 + 1, ra=None), [2**63, 2**63 + 1], [1.0, 2.0], np.uint64)
        == 2**63 + 1
    )


def test_labels_of_two_releases_meet_at_one_object() -> None:
    labels = [said(0, "ann", "normal", object_id=7), said(1, "bob", "artefact", object_id=9, release="2")]
    placement = Placement([*labels, said(2, "cy", "normal", object_id=5, ra=99.0)], 1.0)
    placement.add(np.array([9, 11]), np.array([10.0, 50.0]), np.array([20.0, 20.0]))
    (found,) = placement.judgements().values()
    assert (found.object_id, found.label, placement.elsewhere) == (9, DISPUTED, 1)


def test_columns_of_a_catalogue_are_null_but_for_labelled_objects() -> None:
    table = as_table(judged(said(0, "ann", "normal", 2**63 + 1), said(0, "bob", "artefact", 4)).values(), pa.uint64())
    columns = label_columns(np.array([2**63, 2**63 + 1, 4, 4, 5], np.uint64), table)
    assert columns["label"].to_pylist() == [None, "normal", "artefact", "artefact", None]
    assert columns["label_by"].to_pylist()[1] == "ann"
    assert columns["label_at"].to_pylist()[1] == "2026-01-01T00:00:00+00:00"
    assert label_columns(np.array([1]), as_table([]))["label"].to_pylist() == [None]
