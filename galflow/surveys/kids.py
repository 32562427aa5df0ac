"""KiDS coadds (DR4, DR5): one square degree a tile in u g r i, with a weight and a mask for each band.

Data model: kids.strw.leidenuniv.nl/DR5/format.php; Wright+24, A&A 686, A170; Kuijken+19, A&A 625, A2. Files
``KiDS_DR5.0_<ra>_<dec>_<band>_sci.fits``, ``_wei``, ``_msk``; pixels are flux in units of AB magnitude 0. A weight is
relative and is scaled to the measured noise of the sky. The bits of a mask are those of de Jong+15, A&A 582, A62:
spikes and reflection halos of bright stars, saturated cores, bad pixels. Tiles overlap: the row of the tile in which
an object lies deepest is primary.
"""

from __future__ import annotations

from galflow.surveys.preset import Preset
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import Companion, DataModel

RELEASES = ("DR5.0", "DR4.1", "DR4.0")
"""Of which file names are known, the newest first."""


class KidsOptions(PresetOptions):
    """Where the tiles lie."""


class Kids(Preset):
    """KiDS; see the module's docstring."""

    Options = KidsOptions
    model = DataModel(
        product="a KiDS coadd (sci)",
        expected="an OmegaCAM image of 0.2 arcsec pixels in units of AB magnitude 0, with _wei and _msk beside it",
        example="KiDS_DR5.0_140.0_0.5_r_sci.fits",
        bands={"r": "r", "g": "g", "i": "i", "i2": "i2", "u": "u"},
        images=tuple(
            f"**KiDS_{release}_{{tile}}_{{band}}_sci.fits{end}" for end in ("", ".fz", ".gz") for release in RELEASES
        ),
        scale_arcsec=0.2,
        signs=(("INSTRUME", "OMEGACAM"), ("TELESCOP", "VST"), ("OBJECT", "^K[Ii]DS")),
        zero_point=0.0,
        zero_point_keywords=("PHOTZP",),
        weight=Companion(swap=("_{band}_sci", "_{band}_wei")),
        weight_kind="weight",
        mask=Companion(swap=("_{band}_sci", "_{band}_msk")),
        planes={
            0: "BRIGHT_STAR",
            1: "SATURATED",
            2: "BRIGHT_STAR",
            3: "BRIGHT_STAR",
            4: "BRIGHT_STAR",
            5: "BRIGHT_STAR",
            6: "BAD",
        },
        fwhm=(("PSF_FWHM", "arcsec"),),
        columns={"object_id": "ID", "ra_deg": "RAJ2000", "dec_deg": "DECJ2000"},
    )
