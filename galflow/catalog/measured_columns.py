"""The columns of what was measured on the cutouts, with unit, description and UCD.

The numbers are made by galflow.measurements; here they get their words, and their place beside a catalogue's rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from galflow.catalog.own_columns import Column
from galflow.errors import DataError
from galflow.measurements.measure import BANDS_DETAIL, UNIT_DETAIL
from galflow.measurements.part import (
    ERROR,
    MORPHOLOGY,
    NOT_MEASURED,
    SERSIC,
    flux_column,
    number_columns,
    outcome_column,
)
from galflow.photometry import NJY
from galflow.storage.checksums import FileSum
from galflow.storage.receipts import Receipt

_WORDS: dict[str, tuple[str, str | None, str]] = {
    "sersic_x": ("column of the fitted centre in its tile, from 0, in the reference band", "pix", "pos.cartesian.x"),
    "sersic_y": ("row of the fitted centre in its tile, from 0, in the reference band", "pix", "pos.cartesian.y"),
    "sersic_r50": ("half-light radius of the fitted Sersic profile along its major axis, without the PSF", "arcsec",
                   "phys.angSize;src"),
    "sersic_n": ("Sersic index of the fitted profile", None, "src.morph.param"),
    "sersic_q": ("axis ratio b/a of the fitted profile, without the PSF", None, "src.ellipticity"),
    "sersic_theta": ("angle of the fitted major axis from the image's x axis (second axis of the array) towards y",
                     "deg", "pos.posAng"),
    "sersic_chi2": ("chi squared per degree of freedom of the fit", None, "stat.fit.chi2"),
    "sersic_snr": ("signal-to-noise ratio of the fitted flux, were the shape known", None, "stat.snr"),
    "petrosian_radius": ("semi-major axis where the mean of an elliptical annulus is a fifth of the mean within",
                         "arcsec", "phys.angSize;src"),
    "concentration": ("5 log10(r80/r20) within 1.5 Petrosian radii (Conselice 03), not corrected for the PSF", None,
                      "src.morph.param"),
    "asymmetry": ("share of the light that differs from the image turned by 180 degrees (Conselice 03), less what "
                  "noise gives", None, "src.morph.param"),
    "gini": ("Gini coefficient of the pixels within the Petrosian isophote (Lotz+04)", None, "src.morph.param"),
    "m20": ("log10 of the second moment of the brightest fifth of the light over that of all (Lotz+04)", None,
            "src.morph.param"),
}  # fmt: skip
_OUTCOMES = {
    SERSIC: "whether a Sersic profile could be fitted, and if not why",
    MORPHOLOGY: "whether Petrosian radius, concentration, asymmetry, Gini and M20 could be measured, and if not why",
}
_LOST = NOT_MEASURED + "its tile could not be"
"""Outcome of rows whose tile's part of measurements is missing."""


def measured_beside(scores: Sequence[Receipt], parts: Sequence[Receipt]) -> dict[str, dict[str, FileSum]]:
    """Key of a score part -> key of what was measured on the same cutouts, and what that file must be."""
    by_cutouts = {r.inputs["cutouts"]: {r.product: r.files[""]} for r in parts if r.rows}
    return {r.product: by_cutouts[r.inputs["cutouts"]] for r in scores if r.inputs["cutouts"] in by_cutouts}


@dataclass(frozen=True)
class MeasuredColumns:
    """What a run measures, of which bands and in which unit."""

    what: tuple[str, ...]
    bands: tuple[str, ...]
    unit: str

    @classmethod
    def of(cls, what: Sequence[str], parts: Sequence[Receipt]) -> MeasuredColumns:
        """From the receipts of all parts; DataError if they are of different bands or units."""
        said = {(str(r.details[BANDS_DETAIL]), str(r.details[UNIT_DETAIL])) for r in parts}
        if len(said) > 1:
            told = "; ".join(f"bands {bands} in {unit}" for bands, unit in sorted(said))
            raise DataError(f"tiles were measured in different bands or units ({told}); expected one for all tiles")
        bands, unit = said.pop() if said else ("", NJY)
        return cls(tuple(what), tuple(bands.split()), unit)

    @property
    def columns(self) -> list[Column]:
        """In the catalogue's order."""
        found = []
        for kind in self.what:
            found += [self._column(name) for name in number_columns(kind, self.bands)]
            outcome = Column(outcome_column(kind), pa.string(), _OUTCOMES[kind], ucd="meta.code.status", nullable=False)
            found.append(outcome)
        return found

    def _column(self, name: str) -> Column:
        plain = name.removesuffix(ERROR)
        description, unit, ucd = self._said(plain)
        if plain != name:
            return Column(name, pa.float64(), f"standard deviation of {plain}", unit, f"stat.error;{ucd}")
        return Column(name, pa.float64(), description, unit, ucd)

    def _said(self, name: str) -> tuple[str, str | None, str]:
        unit = self.unit if self.unit == NJY else "ct"
        if name == "sersic_sky":
            return "level of the sky in a pixel, fitted together with the profile", unit, "instr.background"
        for number, band in enumerate(self.bands):
            if name == flux_column(band):
                how = "fitted Sersic profile" if number == 0 else "profile fitted in the reference band, scaled"
                return f"total flux in {band} of the {how}; the light outside the cutout included", unit, "phot.flux"
        return _WORDS[name]

    def beside(self, rows: int, part: pa.Table | None) -> dict[str, pa.Array | pa.ChunkedArray]:
        """The columns of a tile's rows from its part of measurements; nulls and the reason if there is none."""
        if part is not None and not np.array_equal(part.column("row").to_numpy(), np.arange(rows)):
            raise DataError(f"a part of measurements has {len(part)} rows, its score part {rows}; run again")
        found = {}
        for column in self.columns:
            if part is not None:
                found[column.name] = part.column(column.name)
            elif column.nullable:
                found[column.name] = pa.nulls(rows, column.type)
            else:
                found[column.name] = pa.array([_LOST] * rows, pa.string())
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"what": list(self.what), "bands": list(self.bands), "unit": self.unit}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> MeasuredColumns:
        """The inverse of ``to_json``."""
        return cls(tuple(value["what"]), tuple(value["bands"]), str(value["unit"]))
