from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from galflow.catalog.columns import concat_parts, require_finite
from galflow.errors import DataError, ModelError, SpecError


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_nan_passed_off_as_a_number_is_found(make_part, bad):
    table = make_part("t", 3).append_column("mag_auto", pa.array([1.0, bad, None]))
    require_finite(table, carried=["mag_auto"])
    with pytest.raises(ModelError, match=r"column mag_auto passes off 1 NaN or infinite .* row 1;.*null"):
        require_finite(table)
    require_finite(table.slice(0, 0))


def test_parts_are_put_together_by_tile_and_row(make_part):
    parts = [make_part("b/2", 3, score="wgan_anomaly"), make_part("a/10", 2, score="vae_elbo"), make_part("a/9", 1)]
    whole = concat_parts(parts)
    assert list(zip(whole["tile"].to_pylist(), whole["row"].to_pylist(), strict=True)) == [
        *(("a/10", 0), ("a/10", 1), ("a/9", 0), ("b/2", 0), ("b/2", 1), ("b/2", 2))
    ]
    assert whole["wgan_anomaly"].to_pylist()[:3] == [None] * 3
    assert whole["wgan_anomaly"].null_count == 3
    assert whole["vae_elbo"].null_count == 4
    assert whole["object_id"].type == pa.int64()
    assert whole.equals(concat_parts(parts[::-1]).select(whole.column_names))
    assert len(concat_parts([parts[0].slice(0, 0)])) == 0


def test_two_surveys_may_share_a_tiles_name_but_no_row_comes_twice(make_part):
    hsc, sdss = make_part("1", 3), make_part("1", 3, survey="sdss")
    assert len(concat_parts([hsc, sdss])) == 6
    with pytest.raises(DataError, match=r"1 row\(s\) occur twice, first \{'survey': 'hsc', 'tile': '1', 'row': 2\}"):
        concat_parts([hsc, hsc.slice(2), sdss])
    with pytest.raises(SpecError, match="no score parts"):
        concat_parts([])


def test_ids_are_never_joined_through_floats(make_part):
    unsigned = make_part("2", 1, id_type=pa.uint64())
    with pytest.raises(DataError, match="object_id is int64 and uint64"):
        concat_parts([make_part("1", 1), unsigned])
    with pytest.raises(DataError, match="column row is absent and int64"):
        concat_parts([make_part("1", 1), make_part("2", 1).drop_columns("row")])
