"""DESI Legacy Imaging Surveys, DR9 and DR10: bricks of coadds in nanomaggies, with inverse variance and maskbits.

Data model: legacysurvey.org/dr10/files and dr10/bitmasks; Dey+19, AJ 157, 168. For each brick and band
``legacysurvey-<brick>-image-<band>.fits.fz``, invvar (1/nanomaggy^2) and psfsize, a map of the PSF's FWHM in arcsec:
its median is the tile's, the column psf_fwhm_<band> has it at each object. For each brick one maskbits. Bricks overlap:
bit NPRIMARY marks what belongs to a neighbour, and an object there is not primary. GALAXY (a large galaxy) and CLUSTER
are no faults of a pixel. Pixels are resampled (Lanczos 3), so that the noise of neighbours is correlated. The WISE
images, in Vega magnitudes, are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pyarrow as pa

from galflow.errors import DataError
from galflow.surveys.base import FwhmMap, Image, Psf, Tile
from galflow.surveys.preset import Preset
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import Companion, DataModel
from galflow.surveys.reading.files import unchanged
from galflow.surveys.reading.fits_io import read_image

NPRIMARY = 0
"""Bit of maskbits."""
_STARS: dict[int | str, str] = {1: "BRIGHT_STAR", 11: "BRIGHT_STAR"}
"""Bits BRIGHT and MEDIUM."""
_OF_BAND: dict[str, dict[int | str, str]] = {
    "g": {2: "SATURATED", 5: "BAD"},
    "r": {3: "SATURATED", 6: "BAD"},
    "z": {4: "SATURATED", 7: "BAD"},
    "i": {14: "SATURATED", 15: "BAD"},
}
"""Bits SATUR_<band> and ALLMASK_<band>."""


class LegacyOptions(PresetOptions):
    """Where the bricks lie."""


class Legacy(Preset):
    """Legacy Surveys bricks; see the module's docstring."""

    Options = LegacyOptions
    options: LegacyOptions
    version = "2"
    model = DataModel(
        product="a Legacy Surveys coadd (image of a brick)",
        expected="an image of 0.262 arcsec pixels in nanomaggies named IMAGE_<band>, invvar and maskbits beside it",
        example="south/coadd/000/0001m002/legacysurvey-0001m002-image-r.fits.fz",
        bands={band: band for band in "rgiz"},
        images=tuple(f"**legacysurvey-{{tile}}-image-{{band}}.fits{end}" for end in (".fz", "", ".gz")),
        scale_arcsec=0.262,
        signs=(("EXTNAME", "^IMAGE[_-][GRIZgriz]$"), ("IMTYPE", "^image$"), ("BRICKNAM", "^[0-9]{4}[pm][0-9]{3}$")),
        zero_point=22.5,
        zero_point_keywords=("MAGZERO",),
        weight=Companion(swap=("-image-{band}", "-invvar-{band}")),
        mask=Companion(swap=("-image-{band}", "-maskbits")),
        planes={},
        columns={"object_id": "objid", "ra_deg": "ra", "dec_deg": "dec", "is_primary": "brick_primary"},
        ids_per_tile=True,
    )
    extra: ClassVar[Mapping[str, Companion]] = {
        "psfsize": Companion(swap=("-image-{band}", "-psfsize-{band}")),
        "maskbits": Companion(swap=("-image-{band}", "-maskbits")),
    }

    def planes(self, band: str) -> Mapping[int | str, str]:
        """Bright stars, and what is saturated or bad in all exposures of this band."""
        return {**_STARS, **_OF_BAND[band]}

    def completed(self, image: Image, tile: Tile, band: str, shape: tuple[int, int]) -> Image:
        """With the brick's psfsize map and its median; without one where the map is not there, or empty."""
        file = tile.file(f"psfsize/{band}")
        if file is None or self.options.psf is not None:
            return image
        with unchanged(file) as uri:
            sizes, _ = read_image(uri)
        found = FwhmMap(sizes, shape)
        median = found.median
        return image if median is None else replace(image, psf=Psf(fwhm_arcsec=median, fwhm_map=found))

    @property
    def own_columns(self) -> frozenset[str]:
        """Whether a detected object is this brick's."""
        return frozenset({"is_primary"})

    def with_columns(self, table: pa.Table, tile: Tile) -> pa.Table:
        """A detected object is primary where NPRIMARY is not set; a catalogue brings its own flag."""
        if not self.detects:
            return table
        file = next((file for file in tile.files if file.role.startswith("maskbits/")), None)
        if file is None:
            raise DataError(f"tile {tile.name} of {self.name} has no maskbits, which say what is primary; add the file")
        with unchanged(file) as uri:
            bits, _ = read_image(uri)
        row, column = (np.rint(table[name].to_numpy()).astype(np.int64) for name in ("y", "x"))
        row, column = np.clip(row, 0, bits.shape[0] - 1), np.clip(column, 0, bits.shape[1] - 1)
        primary = (bits[row, column].astype(np.int64) >> NPRIMARY) & 1 == 0
        field = pa.field("is_primary", pa.bool_(), metadata={"description": "Not NPRIMARY in the brick's maskbits"})
        return table.append_column(field, pa.array(primary))
