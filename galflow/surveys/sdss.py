"""SDSS frames (DR8 and later): one field of one column of the camera, in nanomaggies, with a noise made of its sky.

Data model: data.sdss.org, BOSS_PHOTOOBJ, frame; files ``frame-r-002125-1-0018.fits.bz2``, bzipped or not. The sky is
subtracted and the calibration applied; the variance is made of both (galflow.surveys.reading.sdss_frame), Poisson noise
of the objects included. Masks (fpM) and PSFs (psField) are files of formats of their own, which are not read, so that
saturated stars are not marked. Fields overlap by 128 rows: the row of the field in which an object lies deepest is
primary.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from galflow.photometry import njy_per_count
from galflow.surveys.base import Image, Tile
from galflow.surveys.preset import Preset
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import DataModel
from galflow.surveys.reading.files import unchanged
from galflow.surveys.reading.fits_io import read_image
from galflow.surveys.reading.sdss_frame import variance_nanomaggies

ZERO_POINT = 22.5
"""AB magnitude of a nanomaggy."""


class SdssOptions(PresetOptions):
    """Where the frames lie."""


class Sdss(Preset):
    """SDSS; see the module's docstring."""

    Options = SdssOptions
    makes_noise = True
    options: SdssOptions
    model = DataModel(
        product="an SDSS frame",
        expected="nanomaggies in 0.396 arcsec pixels with RUN, CAMCOL and FILTER, then the calibration and the sky",
        example="301/2125/1/frame-r-002125-1-0018.fits.bz2",
        bands={band: band for band in "rgizu"},
        images=tuple(f"**frame-{{band}}-{{tile}}.fits{end}" for end in (".bz2", "", ".gz")),
        image=0,
        scale_arcsec=0.396,
        signs=(("ORIGIN", "^SDSS"), ("BUNIT", "^nanomaggy")),
        zero_point=ZERO_POINT,
        columns={"object_id": "objID", "ra_deg": "ra", "dec_deg": "dec"},
    )

    def completed(self, image: Image, tile: Tile, band: str, shape: tuple[int, int]) -> Image:
        """With the inverse variance of a frame."""
        file = tile.file(f"flux/{band}")
        if self.options.noise == "sky" or file is None:
            return image
        with unchanged(file) as uri:
            stored, header = read_image(uri, 0)
            variance = variance_nanomaggies(stored, header, uri)
        usable = np.isfinite(variance) & (variance > 0)
        ivar = np.zeros(variance.shape, np.float32)
        ivar[usable] = 1.0 / (variance[usable] * njy_per_count(ZERO_POINT) ** 2)
        return replace(image, ivar=ivar)
