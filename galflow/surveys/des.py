"""Dark Energy Survey coadds (DR1, DR2): tiles of DECam images with masks and weights in one file a band.

Data model: Abbott+21, ApJS 255, 20 (DR2); Morganson+18, PASP 130, 074501 (bits of the mask). Files
``DES2157-5248_r4907p01_r.fits.fz``: SCI, MSK, WGT (inverse variance). Trails and bleeds of saturated stars (TRAIL,
EDGEBLEED) are SATURATED, those of satellites (STREAK) are TRAIL. The PSF's model is in files of its own, which are not
read. Tiles overlap: the row of the tile in which an object lies deepest is primary.
"""

from __future__ import annotations

from galflow.surveys.preset import Preset
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import Companion, DataModel


class DesOptions(PresetOptions):
    """Where the tiles lie."""


class Des(Preset):
    """DES; see the module's docstring."""

    Options = DesOptions
    model = DataModel(
        product="a DES coadd",
        expected="extensions SCI of 0.263 arcsec pixels, MSK and WGT of a DECam tile",
        example="DES2157-5248_r4907p01_r.fits.fz",
        bands={"r": "r", "g": "g", "i": "i", "z": "z", "y": "Y"},
        images=tuple(f"**DES{{tile}}_r*p*_{{band}}.fits{end}" for end in (".fz", "", ".gz")),
        image="SCI",
        scale_arcsec=0.263,
        signs=(("INSTRUME", "(?i)decam"), ("DETECTOR", "(?i)decam"), ("TILENAME", "^DES"), ("SURVEY", "^DES")),
        zero_point=30.0,
        zero_point_keywords=("MAGZERO",),
        weight=Companion("WGT"),
        mask=Companion("MSK"),
        planes={
            0: "BAD",
            1: "SATURATED",
            2: "INTERPOLATED",
            4: "COSMIC_RAY",
            5: "BRIGHT_STAR",
            6: "SATURATED",
            7: "SATURATED",
            9: "EDGE",
            10: "TRAIL",
        },
        columns={"object_id": "COADD_OBJECT_ID", "ra_deg": "RA", "dec_deg": "DEC"},
    )
