"""The triage columns of a part's rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from galflow.catalog.own_columns import probability_column
from galflow.catalog.triage import TRIAGE, triage_columns
from galflow.cutouts.flags import Flag
from galflow.scores.triage import CLASSES, Triage
from galflow.scores.triage_features import MEASURED

NAMES = (*(f"m{i}" for i in range(11)), "m_s_sigma")


def _triage() -> Triage:
    """Artefact by the last measured number, star by the score; of 11, so that 10 sorts behind 9 and not behind 1."""
    weights = np.zeros((3, 24))
    weights[1, 10], weights[2, 11] = 3.0, 3.0
    return Triage(NAMES, np.zeros(12), np.ones(12), ("galaxy", "trail", "star"), weights, np.array([2.0, 0.0, 0.0]))


def _part() -> pa.Table:
    measured = np.zeros((5, 11), np.float32)
    measured[1, 10] = 50.0
    measured[4] = np.nan
    columns = {f"{MEASURED}{i}": pa.array(v, mask=np.isnan(v)) for i, v in enumerate(measured.T)}
    sigma = np.array([0.0, 0.0, 50.0, np.nan, 0.0])
    flags = np.array([0, 0, 0, int(Flag.TRAIL), 0])
    return pa.table(columns | {"m_s_sigma": pa.array(sigma, mask=np.isnan(sigma)), "flags": flags})


def test_each_row_has_its_class_and_probabilities() -> None:
    columns = triage_columns(_part(), _triage())
    assert list(columns) == [TRIAGE, *(probability_column(name) for name in CLASSES)]
    assert columns[TRIAGE].to_pylist() == ["galaxy", "artefact", "star", "artefact", None]
    told = [np.array(columns[f"{n}_p"].to_pylist()[:4], float) for n in ("artefact", "star", "galaxy")]
    np.testing.assert_allclose(np.sum(told, axis=0), 1)
    # 30 : 1 : e^2, for a score that is null counts as the median.
    assert told[0][3] == pytest.approx(30 / (31 + np.exp(2)))
    for name in ("blend", "interesting"):
        assert columns[f"{name}_p"].null_count == 5, "of what was not learnt nothing is said"
    assert columns["artefact_p"][4].as_py() is None


def test_without_a_triage_or_measurements_all_is_null() -> None:
    for part, triage in ((_part(), None), (_part().select(["m_s_sigma", "flags"]), _triage())):
        columns = triage_columns(part, triage)
        assert all(column.null_count == 5 for column in columns.values())
    assert all(len(column) == 0 for column in triage_columns(_part().slice(0, 0), _triage()).values())
