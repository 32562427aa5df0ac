"""JWST mosaics (i2d, stage 3): NIRCam, NIRISS and MIRI images in MJy/sr with their standard deviations.

Data model: jwst-pipeline.readthedocs.io, science products, i2d. One file a filter,
``jw<program>..._nircam_clear-f200w_i2d.fits``: SCI, ERR, further extensions that are not read. nJy in a pixel are its
surface brightness times the solid angle that the WCS gives; PIXAR_SR, where it is another, is said and not used. NaN
are no data. No PSF and no mask is in the files. The filters of a tile may have grids of their own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from galflow.surveys.preset import Preset
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import Companion, DataModel, Header
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec

_NIRCAM = (
    "f200w f150w f277w f115w f356w f444w f090w f070w f140m f150w2 f162m f164n f182m f187n f210m f212n f250m f300m "
    "f322w2 f323n f335m f360m f405n f410m f430m f460m f466n f470n f480m"
)
_NIRISS = "f158m f380m"
_MIRI = "f770w f560w f1000w f1130w f1280w f1500w f1800w f2100w f2550w"
_SR_PER_ARCSEC2 = (math.pi / 648000) ** 2
_AREA_AGREES = 0.01


class JwstOptions(PresetOptions):
    """Where the mosaics lie."""


class Jwst(Preset):
    """JWST; see the module's docstring."""

    Options = JwstOptions
    model = DataModel(
        product="a JWST mosaic (i2d)",
        expected="extensions SCI in MJy/sr and ERR of a NIRCam, NIRISS or MIRI image",
        example="jw02561-o001_t003_nircam_clear-f200w_i2d.fits",
        bands={name: name for name in f"{_NIRCAM} {_NIRISS} {_MIRI}".split()},
        images=tuple(f"{{tile:path}}_*{{band}}_i2d.fits{end}" for end in ("", ".gz", ".fz")),
        image="SCI",
        signs=(("TELESCOP", "JWST"), ("INSTRUME", "^(NIRCAM|NIRISS|MIRI)$")),
        weight=Companion("ERR"),
        weight_kind="sigma",
        background="constant",
        columns={"object_id": "label", "ra_deg": "sky_centroid.ra", "dec_deg": "sky_centroid.dec"},
        ids_per_tile=True,
    )

    def remarks(self, band: str, found: Header, uri: str) -> Iterator[tuple[str, str]]:
        """A PIXAR_SR that is not the pixel of the WCS."""
        shape, header = found
        wcs, said = celestial_wcs(header, uri), header.get("PIXAR_SR")
        if wcs is None or not isinstance(said, float) or not said > 0:
            return
        area = local_pixel_scale_arcsec(wcs, shape) ** 2 * _SR_PER_ARCSEC2
        if abs(said / area - 1) > _AREA_AGREES:
            yield f"PIXAR_SR of band {band} is {said:.4g} sr, the pixel of its WCS {area:.4g}", "the WCS's is taken"
