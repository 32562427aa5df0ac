"""LSST deep coadds of the Vera C. Rubin Observatory, read from files without the Butler: DP1 and DP2.

Data model: the DP1 documentation (dp1.lsst.io, deep_coadd) and the code of lsst.images (github.com/lsst/images), which
writes DP2's. Files ``deep_coadd_<tract>_<patch>_<band>_<more>.fits`` with IMAGE, MASK and VARIANCE in nJy; what else is
in them is not read, the PSF among it. Planes are known by name alone, from MP_* cards (DP1) or MSKNnnnn and MSKMnnnn
(DP2, which says SATURATED for SAT); a mask of three axes by galflow.surveys.reading.fits_byte_planes. DETECTED is no
fault of a pixel, nor are CR and STREAK, which in a coadd say what some exposures had. Patches overlap: the row of the
patch in which an object lies deepest is primary.
"""

from __future__ import annotations

from collections.abc import Iterator

from galflow.surveys.preset import Preset
from galflow.surveys.preset_options import PresetOptions
from galflow.surveys.reading.data_models import PIPELINE_PLANES, Companion, DataModel, Header, has_flux_unit


class LsstOptions(PresetOptions):
    """Where the coadds lie."""


class Lsst(Preset):
    """LSST; see the module's docstring."""

    Options = LsstOptions
    model = DataModel(
        product="an LSST deep coadd",
        expected="extensions IMAGE (nJy, 0.2 arcsec pixels), MASK whose header names its planes, and VARIANCE",
        example="deep_coadd_4849_21_i_lsst_cells_v1_LSSTComCam_runs_DRP_DP1_DM-51335.fits",
        bands={band: band for band in "irgzyu"},
        images=tuple(
            f"**deep_coadd_{{tile}}_{{band}}{rest}.fits{end}" for end in ("", ".fz", ".gz") for rest in ("_*", "")
        ),
        image="IMAGE",
        scale_arcsec=0.2,
        zero_point=31.4,
        zero_point_keywords=("FLUXMAG0",),
        weight=Companion("VARIANCE"),
        weight_kind="variance",
        mask=Companion("MASK"),
        planes=PIPELINE_PLANES,
        needed=frozenset({"SAT|SATURATED", "NO_DATA"}),
        columns={
            "object_id": "objectId",
            "ra_deg": "coord_ra",
            "dec_deg": "coord_dec",
            "is_primary": "detect_isPrimary",
        },
    )

    def remarks(self, band: str, found: Header, uri: str) -> Iterator[tuple[str, str]]:
        """Also another unit than the published one."""
        yield from super().remarks(band, found, uri)
        unit = str(found[1].get("BUNIT", "")).strip()
        if has_flux_unit(found[1]) and unit != "nJy":
            yield f"the header of band {band} gives BUNIT = {unit}, its data model nJy", "the header's is taken"
