from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from astropy.coordinates import Angle, SkyCoord

from galflow.errors import SpecError
from galflow.surveys.reading.table_units import numbers, sky_positions


def degrees(
    ra: list[object], dec: list[object], ra_unit: str = "", dec_unit: str = "", **ucds: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    fields = [
        pa.field(name, pa.null(), metadata={"unit": unit, "ucd": ucds.get(f"{name}_ucd", "")})
        for name, unit in (("ra", ra_unit), ("dec", dec_unit))
    ]
    return sky_positions(pa.chunked_array([ra]), pa.chunked_array([dec]), *fields, "c.csv")


@pytest.mark.parametrize(
    ("unit", "ra", "dec_unit", "dec"),
    [
        ("", 150.1, "", 2.2),
        ("deg", 150.1, "degrees", 2.2),
        ("rad", np.deg2rad(150.1), "RADIAN", np.deg2rad(2.2)),
        ("hourangle", 150.1 / 15, "deg", 2.2),
        ("h", 150.1 / 15, "arcmin", 2.2 * 60),
        ("arcsec", 150.1 * 3600, "mas", 2.2 * 3.6e6),
        ("urad", np.deg2rad(150.1) * 1e6, "arcsec", 2.2 * 3600),
    ],
)
def test_declared_units_become_degrees(unit: str, ra: float, dec_unit: str, dec: float) -> None:
    ra_deg, dec_deg, told = degrees([ra], [dec], unit, dec_unit)
    np.testing.assert_allclose([ra_deg[0], dec_deg[0]], [150.1, 2.2], rtol=1e-12)
    assert told == []


@pytest.mark.parametrize(
    ("ra", "dec", "unit"),
    [
        ("10:00:24.5", "-00:12:20.25", ""),
        ("10 00 24.5", "-00 12 20.25", "'h:m:s'"),
        ("10h00m24.5s", "-00d12m20.25s", ""),
        ("10:00:24.5", "\u22120:12:20.25", "hourangle"),
        ("10h 00m 24.5s", "-0° 12' 20.25\"", "deg"),
    ],
)
def test_sexagesimal_text(ra: str, dec: str, unit: str) -> None:
    ra_deg, dec_deg, told = degrees([ra, None], [dec, None], unit)
    assert ra_deg[0] == pytest.approx(Angle("10h00m24.5s").deg, abs=1e-10)
    assert dec_deg[0] == pytest.approx(Angle("-0d12m20.25s").deg, abs=1e-10)
    assert np.isnan(ra_deg[1])
    assert told == []


def test_sexagesimal_degrees_by_unit_or_by_size() -> None:
    assert degrees(["10:30:00"], ["5:00"], "deg")[0][0] == 10.5
    ra_deg, _, told = degrees(["10:30:00", "150:30:00"], ["5:00", "5:00"])
    np.testing.assert_allclose(ra_deg, [10.5, 150.5])
    assert "no unit and numbers beyond 24" in told[0]


def test_right_ascensions_are_wrapped_and_sentinels_are_missing() -> None:
    ra = [-10.0, 370.0, 360.0, 359.99, -999.0, 1e20, 5.0, 5.0, float("inf"), None]
    dec = [1.0] * 6 + [90.5, -99.0, 1.0, 1.0]
    ra_deg, dec_deg, _ = degrees(list(ra), list(dec))
    np.testing.assert_array_equal(ra_deg, [350.0, 10.0, 0.0, 359.99] + [np.nan] * 6)
    np.testing.assert_array_equal(np.isnan(dec_deg), np.isnan(ra_deg))


def test_cells_that_are_no_positions_cost_themselves() -> None:
    ra = ["1.5", "inf", "", "-999", "--", "broken", "10:61:00", "NaN", "1.5D1"]
    ra_deg, _, told = degrees(list(ra), [1.0] * len(ra))
    np.testing.assert_array_equal(ra_deg, [1.5] + [np.nan] * 7 + [15.0])
    assert told == [
        "c.csv: 2 cells of column 'ra' are no positions, such as 'broken': they are taken as missing",
    ]


def test_columns_that_hold_no_position_are_refused() -> None:
    with pytest.raises(SpecError, match="of type string, such as 'north'; expected numbers as positions"):
        degrees(["north"], [1.0])
    with pytest.raises(SpecError, match="column 'ra' is in nJy; expected an angle"):
        degrees([1.0], [1.0], "nJy")
    with pytest.raises(SpecError, match="of type bool; expected numbers"):
        degrees([True], [1.0])
    assert "unit 'furlong', which is not known; degrees are assumed" in degrees([1.0], [1.0], "furlong")[2][0]


def test_a_ucd_tells_the_frame() -> None:
    ra_deg, dec_deg, _ = degrees(
        [120.0], [30.0], "deg", "deg", ra_ucd="pos.galactic.lon;meta.main", dec_ucd="pos.galactic.lat"
    )
    expected = SkyCoord(l=120, b=30, unit="deg", frame="galactic").icrs
    np.testing.assert_allclose([ra_deg[0], dec_deg[0]], [expected.ra.deg, expected.dec.deg])


def test_pixel_positions_as_text_integers_and_decimals() -> None:
    for values in (["1", "2.5", "x"], ["1 ", " +2.5", "nan", "bad"]):
        found, _ = numbers(pa.chunked_array([values]), "x", "c.csv")
        np.testing.assert_array_equal(found[:3], [1.0, 2.5, np.nan])
    found, told = numbers(pa.chunked_array([pa.array([1, None], pa.int16())]), "x", "c.csv")
    np.testing.assert_array_equal(found, [1.0, np.nan])
    assert told == []
