"""SDSS frames (DR8 and later): one field of one column of the camera, in nanomaggies, with a noise made of its sky.

Data model: data.sdss.org, BOSS_PHOTOOBJ, frame; files ``frame-r-002125-1-0018.fits.bz2``, bzipped or not. The sky is
subtracted and the calibration applied; the variance is made of both (galflow.surveys.reading.sdss_frame), Poisson noise
of the objects included. Where the frame's mask lies below root too (``fpM-002125-r1-0018.fit``), its planes INTERP,
SATUR, CR and GHOST are read (galflow.surveys.reading.sdss_masks); without it saturated stars are not marked. PSFs
(psField) are not read. Fields overlap by 128 rows: the row of the field in which an object lies deepest is
primary.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from galflow.photometry import njy_per_count
from galflow.surveys.base import Image, Tile, TileFile
from galflow.surveys.preset import Preset
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import DataModel
from galflow.surveys.reading.files import list_entries, unchanged
from galflow.surveys.reading.fits_inspect import stored_header
from galflow.surveys.reading.fits_io import read_image
from galflow.surveys.reading.sdss_frame import corner_in_frame, variance_nanomaggies
from galflow.surveys.reading.sdss_masks import NAME, frame_mask

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
        mask_names=NAME.pattern,
        columns={"object_id": "objID", "ra_deg": "ra", "dec_deg": "dec"},
    )

    def completed(self, image: Image, tile: Tile, band: str, shape: tuple[int, int]) -> Image:
        """With the inverse variance of a frame, and with its mask where there is one."""
        file, masked = tile.file(f"flux/{band}"), tile.file(f"fpM/{band}")
        if file is None:
            return image
        if masked is not None:
            with unchanged(masked) as uri:
                corner = corner_in_frame(stored_header(file, 0)[1], file.uri)
                planes = frame_mask(uri, shape, corner)
            image = replace(image, mask=planes if image.mask is None else image.mask | planes)
        if self.options.noise == "sky":
            return image
        with unchanged(file) as uri:
            stored, header = read_image(uri, 0)
            variance = variance_nanomaggies(stored, header, uri)
        usable = np.isfinite(variance) & (variance > 0)
        ivar = np.zeros(variance.shape, np.float32)
        ivar[usable] = 1.0 / (variance[usable] * njy_per_count(ZERO_POINT) ** 2)
        return replace(image, ivar=ivar)

    def tiles(self) -> list[Tile]:
        """Every frame, with the fpM file of each band that has one."""
        tiles = super().tiles()
        if self.options.mask == "none":
            return tiles
        masks: dict[str, list[TileFile]] = {tile.name: [] for tile in tiles}
        for entry in list_entries(self.root_uri, "**fpM-*"):
            found = NAME.search(entry.uri)
            tile = f"{found[1]}-{found[3]}-{found[4]}" if found is not None else ""
            if found is not None and tile in masks and not entry.dangling:
                masks[tile].append(entry.in_role(f"fpM/{found[2]}"))
        return [Tile(tile.name, (*tile.files, *masks[tile.name]), tile.bands) for tile in tiles]
