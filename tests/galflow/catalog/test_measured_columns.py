"""What was measured, as columns of a catalogue: units, UCDs, the rows of a lost tile, and other formats."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from astropy import units
from astropy.io.votable.ucd import check_ucd
from astropy.table import Table

from galflow.catalog.carried import DESCRIPTION, UCD, UNIT
from galflow.catalog.fits_table import write_fits
from galflow.catalog.measured_columns import MeasuredColumns, measured_beside
from galflow.catalog.published import CatalogPlan
from galflow.catalog.schema import catalog_schema
from galflow.errors import DataError
from galflow.measurements.part import MORPHOLOGY, SERSIC
from galflow.storage.checksums import FileSum
from galflow.storage.receipts import Receipt

MEASURED = MeasuredColumns((SERSIC, MORPHOLOGY), ("g", "F814W-x"), "nJy")


def receipt(product: str, cutouts: str, rows: int = 2, **details: str) -> Receipt:
    files = {"": FileSum.of(product.encode())}
    return Receipt(
        product=product, fingerprint="f", inputs={"cutouts": cutouts}, files=files, rows=rows, details=details
    )


def test_every_column_has_a_valid_unit_a_description_and_a_valid_ucd() -> None:
    schema = catalog_schema([], [], pa.schema([]), pa.int64(), with_names=False, measured=MEASURED.columns)
    assert "sersic_flux_F814W_x_error" in schema.names
    for column in MEASURED.columns:
        said = schema.field(column.name).metadata
        units.Unit(said[UNIT].decode())
        assert said[DESCRIPTION]
        assert check_ucd(said[UCD].decode(), check_controlled_vocabulary=True), column.name
    assert schema.field("sersic_flux_g").metadata[UNIT] == b"nJy"
    assert schema.field("petrosian_radius_error").metadata[UNIT] == b"arcsec"
    in_counts = MeasuredColumns((SERSIC,), ("g",), "count").columns
    assert {c.unit for c in in_counts if "flux" in c.name or "sky" in c.name} == {"ct"}


def test_parts_are_matched_by_their_cutouts_and_a_lost_tile_has_nulls_and_the_reason() -> None:
    scores = [receipt("scores/a", "1"), receipt("scores/b", "2")]
    parts = [receipt("measurements/b", "2", bands="g", unit="nJy"), receipt("measurements/c", "3", 0)]
    found = measured_beside(scores, parts)
    assert {score: list(of) for score, of in found.items()} == {"scores/b": ["measurements/b"]}
    lost = MEASURED.beside(3, None)
    assert lost["sersic_n"].null_count == 3
    assert lost["sersic_outcome"].to_pylist() == ["not measured: its tile could not be"] * 3


def test_a_part_of_other_rows_is_refused() -> None:
    with pytest.raises(DataError, match="has 2 rows, its score part 3; run again"):
        MEASURED.beside(3, pa.table({"row": [0, 1]}))


def test_tiles_in_different_units_are_refused() -> None:
    parts = [receipt("m/a", "1", bands="g", unit="nJy"), receipt("m/b", "2", bands="g", unit="count")]
    with pytest.raises(DataError, match="bands g in count; bands g in nJy"):
        MeasuredColumns.of([SERSIC], parts)
    assert MeasuredColumns.of([SERSIC], parts[:1]) == MeasuredColumns((SERSIC,), ("g",), "nJy")


def test_a_plan_of_a_catalogue_keeps_them_and_one_without_is_as_it_was() -> None:
    schema = catalog_schema([], [], pa.schema([]), pa.int64(), with_names=False)
    plan = CatalogPlan("r", schema, {}, measured=MEASURED)
    assert CatalogPlan.from_json(plan.to_json()).measured == MEASURED
    assert "measured" not in CatalogPlan("r", schema, {}).to_json()


def test_fits_has_nulls_units_and_outcomes(tmp_path: Path) -> None:
    schema = pa.schema([column.field() for column in MEASURED.columns])
    table = pa.table(MEASURED.beside(2, None), schema=schema)
    write_fits(partial(iter, [table]), schema, tmp_path / "c.fits")
    found = Table.read(tmp_path / "c.fits")
    assert str(found["sersic_theta"].unit) == "deg"
    assert found["gini"].mask.all()
    assert list(found["morphology_outcome"]) == ["not measured: its tile could not be"] * 2


def test_hats_has_them(tmp_path: Path) -> None:
    pytest.importorskip("hats")
    from galflow.catalog.hats import write_hats

    schema = catalog_schema([], [], pa.schema([]), pa.int64(), with_names=False, measured=MEASURED.columns)
    same = {"survey": "s", "release": "1", "tile": "t", "outcome": "scored", "run_id": "r"}
    ids = {"object_id": [1, 2], "id_in_tile": [1, 2], "row": [0, 1], "ra": [10.0, 20.0], "dec": [1.0, 2.0]}
    rows = ids | {name: [text] * 2 for name, text in same.items()} | {"is_primary": [True] * 2, "flags": [0, 0]}
    rest = {field.name: pa.nulls(2, field.type) for field in schema if field.name not in rows}
    table = pa.table(rows | rest | MEASURED.beside(2, None)).select(schema.names).cast(schema)
    write_hats(partial(iter, [table]), schema, tmp_path / "c_hats")
    (path,) = (tmp_path / "c_hats").rglob("Npix*.parquet")
    assert "sersic_n" in pa.parquet.read_schema(path).names
