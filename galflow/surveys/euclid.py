"""Euclid Q1 mosaics (MER): VIS, NISP and ground-based bands on one grid of 0.1 arcsec, each with noise and flags.

Data model: the Data Product Description Document of Q1, DpdMerBksMosaic; Euclid Collaboration: Romelli+25 (MER).
For each tile and band ``EUC_MER_BGSUB-MOSAIC-VIS_TILE<9 digits>-<hash>_<time>.fits``, its RMS and its FLAG; a hash and
a time are whatever they are. The zero point is MAGZERO's. An RMS of 1e16 stands for no data. Any bit of FLAG is taken
for BAD: what each means was not seen, and ``mask: none`` leaves them out. PSFs lie in catalogues of stamps, which are
not read. Tiles overlap: the row of the tile in which an object lies deepest is primary.
"""

from __future__ import annotations

from galflow.surveys.preset import Preset
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import Companion, DataModel

_GROUND = ("DES-G", "DES-R", "DES-I", "DES-Z", "CFIS-U", "CFIS-R", "HSC-G", "HSC-Z", "PANSTARRS-I")
"""As file names write the ground-based bands."""


class EuclidOptions(PresetOptions):
    """Where the mosaics lie."""


class Euclid(Preset):
    """Euclid's mosaics; see the module's docstring."""

    Options = EuclidOptions
    model = DataModel(
        product="a Euclid mosaic (BGSUB-MOSAIC)",
        expected="an image of 0.1 arcsec pixels of the Euclid Consortium with MAGZERO, its RMS and its FLAG beside it",
        example="EUC_MER_BGSUB-MOSAIC-VIS_TILE102018211-5EBF45_20241018T001123.123456Z_00.00.fits",
        bands={"vis": "VIS", "y": "NIR-Y", "j": "NIR-J", "h": "NIR-H"}
        | {name.lower().replace("-", "_"): name for name in _GROUND},
        images=tuple(f"**EUC_MER_BGSUB-MOSAIC-{{band}}_TILE{{tile}}-*.fits{end}" for end in ("", ".gz", ".fz")),
        scale_arcsec=0.1,
        signs=(
            ("SOFTINST", "Euclid"),
            ("PSWNAME", "^MER"),
            ("PIPDEFID", "^MER"),
            ("ORIGIN", "^euc"),
            ("TELESCOP", "(?i)euclid"),
        ),
        zero_point_keywords=("MAGZERO",),
        zero_points={"vis": 24.6, "y": 29.8, "j": 30.0, "h": 29.9} | {f"des_{band}": 30.0 for band in "griz"},
        weight=Companion(swap=("BGSUB-MOSAIC-{band}_", "MOSAIC-{band}-RMS_")),
        weight_kind="sigma",
        mask=Companion(swap=("BGSUB-MOSAIC-{band}_", "MOSAIC-{band}-FLAG_")),
        columns={"object_id": "OBJECT_ID", "ra_deg": "RIGHT_ASCENSION", "dec_deg": "DECLINATION"},
    )
