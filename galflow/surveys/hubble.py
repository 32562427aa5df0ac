"""The embedded real sky: the Hubble eXtreme Deep Field as scikit-image's wheel carries it, so that any machine has it.

The picture is hubble_deep_field.jpg, public domain (NASA, ESA, G. Illingworth and the HUDF09 team, release 2012-37): a
1000 x 872 colour JPEG of the centre of the Hubble Ultra Deep Field. What is measured and what is nominal:

- The channels are a composite of many ACS and WFC3/IR filters, stretched for display (sRGB). They are called red, green
  and blue, not by filters; their pixels are declared counts and stay stretched: no flux, no magnitude.
- The scale is nominal: the released frame has 2382 pixels of 0.06 arcsec (the scale in the file's AVM metadata), here
  shrunk to 1000, hence 0.143 arcsec; its 2.38 x 2.08 arcmin agree with the 2.3 x 2.0 of the release.
- The position is nominal: centred on the field (RA 53.160, Dec -27.784, the centre of the AVM frame), north assumed
  up. The release turned and cropped the frame, so that single objects do not lie where ra_deg and dec_deg say.

It refuses any other picture under that name.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from astropy.wcs import WCS
from pydantic import ConfigDict, Field

from galflow.errors import DataError
from galflow.photometry import COUNT
from galflow.surveys.base import Footprint, Image, Options, Survey, Tile, TileFile
from galflow.surveys.reading import files, identity, stamp_files
from galflow.surveys.reading.background import subtract_background
from galflow.surveys.reading.detection import DetectionOptions, detect, schema
from galflow.surveys.reading.last_tile import LastTile

SHAPE = (872, 1000)
"""(y, x) pixels of the picture."""
PIXEL_SCALE_ARCSEC = 0.06 * 2382 / 1000
CENTRE_DEG = (53.160, -27.784)
"""Nominal right ascension and declination of the picture's centre."""
_TILE = "xdf"


class HubbleDetection(DetectionOptions):
    """How galaxies are found in the picture: at 5 sigma, and large enough to show a shape.

    With galflow's usual 5 connected pixels the picture gives 2,350 objects, most of them specks as small as its
    resolution; 20 pixels are a disc of 0.7 arcsec across and leave about 1,160.
    """

    min_area_pixels: int = Field(
        default=20, ge=1, description="Smallest number of connected pixels above the threshold"
    )


class HubbleOptions(Options):
    """Options of the embedded picture."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    background: Literal["none", "constant", "mesh"] = "constant"
    """What is taken off each channel: nothing, its sky level, or a smooth background."""
    detection: HubbleDetection = HubbleDetection()
    """How galaxies are found."""


class Hubble(Survey):
    """The Hubble eXtreme Deep Field in one tile; see the module's docstring."""

    Options = HubbleOptions
    options: HubbleOptions
    _channels: ClassVar[tuple[str, ...]] = ("red", "green", "blue")

    def __init__(self, name: str, release: str, options: HubbleOptions) -> None:
        super().__init__(name, release, options)
        self._last = LastTile[np.ndarray]()

    @property
    def bands(self) -> tuple[str, ...]:
        """The picture's channels."""
        return self._channels

    @property
    def pixel_scale_arcsec(self) -> float:
        """Nominal."""
        return PIXEL_SCALE_ARCSEC

    @property
    def unit(self) -> str:
        """Display-stretched counts."""
        return COUNT

    @property
    def detects(self) -> bool:
        """Objects are what galflow finds."""
        return True

    @cached_property
    def _wcs(self) -> WCS:
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = CENTRE_DEG
        # The first row of a picture is its top, so that declination falls along y.
        wcs.wcs.cdelt = [-PIXEL_SCALE_ARCSEC / 3600.0, -PIXEL_SCALE_ARCSEC / 3600.0]
        wcs.wcs.crpix = [SHAPE[1] / 2 + 0.5, SHAPE[0] / 2 + 0.5]
        wcs.wcs.set()
        return wcs

    def tiles(self) -> list[Tile]:
        """The one tile, xdf; identity from the picture's bytes and the options."""
        settings = json.dumps([self.version, self.options.content()], sort_keys=True)
        uri = _picture_uri()
        picture = TileFile("flux/*", uri, files.checksum(uri))
        options = TileFile("options", "", hashlib.sha256(settings.encode()).hexdigest())
        return [Tile(_TILE, (picture, options), self.bands)]

    def footprint(self, tile: Tile, band: str | None = None) -> Footprint:
        """Nominal."""
        return Footprint(self._wcs, SHAPE)

    def _decode(self, tile: Tile) -> np.ndarray:
        """(3, y, x) float32 counts."""
        uri = next(file.uri for file in tile.files if file.role == "flux/*")
        pixels = stamp_files.decode(files.read_bytes(uri), uri, bands=len(self.bands))
        if pixels.shape[1:] != SHAPE:
            raise DataError(
                f"{uri} has {pixels.shape[1]} x {pixels.shape[2]} pixels, expected {SHAPE[0]} x {SHAPE[1]}: this is "
                "another picture than the one described here; install scikit-image 0.24 or later"
            )
        planes = [subtract_background(plane, None, self.options.background) for plane in pixels]
        return np.stack(planes)

    def read(self, tile: Tile, band: str) -> Image:
        """One channel in display-stretched counts, with the nominal WCS."""
        if band not in self.bands:
            raise DataError(f"{self.name} has no band {band!r}; its bands are {', '.join(self.bands)}")
        cube = self._last.get(tile.identity, lambda: self._decode(tile))
        return Image(cube[self.bands.index(band)], COUNT, PIXEL_SCALE_ARCSEC, wcs=self._wcs)

    def catalog_schema(self, tile: Tile) -> pa.Schema:
        """Of a detection."""
        return schema(self.bands)

    def catalog(self, tile: Tile, images: Mapping[str, Image] | None = None) -> pa.Table:
        """What the detection finds in the sum of the channels."""
        images = images or {band: self.read(tile, band) for band in self.bands}
        return detect(images, self.options.detection, identity.id_base(identity.tile_keys([tile.name])[tile.name]))


def _picture_uri() -> str:
    """Where scikit-image's wheel put the picture; nothing is downloaded."""
    found = importlib.util.find_spec("skimage")
    path = Path(found.origin).parent / "data" / "hubble_deep_field.jpg" if found and found.origin else None
    if path is None or not path.is_file():
        raise DataError(
            f"the picture hubble_deep_field.jpg is not in scikit-image's package ({path}); "
            "install the scikit-image wheel, which carries it"
        )
    return f"file://{path}"
