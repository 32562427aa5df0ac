"""A column of groups is looked for before any work, where the survey's columns are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from galflow.errors import SpecError
from galflow.runs.check_columns import check_group
from galflow.spec.output import OutputSpec
from galflow.surveys.reading.stamps_options import StampsOptions
from galflow.surveys.stamps import Stamps


@pytest.fixture
def stamps(tmp_path: Path) -> Stamps:
    """Two layers of one stamp each, and a part of the name that is a column."""
    for layer in ("wide", "deep"):
        (tmp_path / layer).mkdir()
        np.save(tmp_path / layer / "season3.npy", np.zeros((1, 8, 8), np.float32))
    options = {"root": str(tmp_path), "pattern": "*/*.npy", "bands": ("r",), "pixel_scale_arcsec": 0.2,
               "folder_column": "layer", "name_pattern": r"season(?P<season>\d)"}  # fmt: skip
    return Stamps("stamps", "1", StampsOptions.model_validate(options))


def test_columns_are_those_that_the_catalogue_then_has(stamps: Stamps) -> None:
    written = stamps.catalog(stamps.tiles()[0]).column_names
    assert stamps.catalog_columns == set(written) - {"object_id", "ra_deg", "dec_deg", "x", "y"}


@pytest.mark.parametrize("column", [None, "layer", "season", "tile", "split", "outcome"])
def test_what_will_be_there_passes(stamps: Stamps, column: str | None) -> None:
    check_group(OutputSpec(group_by=column), stamps)


def test_what_no_object_has_is_refused(stamps: Stamps) -> None:
    with pytest.raises(SpecError, match=r"no object of survey stamps has a column 'depth'; expected one of .*layer"):
        check_group(OutputSpec(group_by="depth"), stamps)
    with pytest.raises(SpecError, match=r"'layer' is not among output\.columns \(season\).*add it there"):
        check_group(OutputSpec(group_by="layer", columns=("season",)), stamps)
    check_group(OutputSpec(group_by="layer", columns=("season", "layer")), stamps)


def test_where_columns_are_not_known_nothing_is_refused(stamps: Stamps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stamps, "catalog_columns", None)
    check_group(OutputSpec(group_by="depth"), stamps)


def test_a_catalogue_of_all_tiles_is_known(stamps: Stamps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Stamps, "survey_catalog", lambda self: pa.table({"object_id": [1], "field": ["a"]}))
    assert super(Stamps, stamps).catalog_columns == {"object_id", "field"}
