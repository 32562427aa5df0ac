"""Whether samples can be compared with the survey at all: likelihoods of other pixels are likelihoods of other things.

Asked before any work, of what surveys declare: unit, pixel scale, PSF. Stretch is galflow.runs.check_display's, the
size of cutouts is one for all (a sample whose images are smaller is refused as its survey would be).
"""

from __future__ import annotations

from collections.abc import Mapping

from galflow.errors import DataError, SpecError
from galflow.surveys.base import Survey

_SCALE_TOLERANCE, _PSF_TOLERANCE = 0.02, 0.1
"""Relative differences that no galaxy shows."""


def check_samples(survey: Survey, samples: Mapping[str, Survey], bands: tuple[str, ...]) -> None:
    """SpecError where a sample's pixels are not like the survey's; ``samples`` by what a person calls them."""
    faults = []
    for what, sample in samples.items():
        units = survey.unit, sample.unit
        if units[0] != units[1]:
            faults.append(
                f"{what}: its flux is in {units[1]}, the survey's in {units[0]}; likelihoods are comparable in one "
                "unit alone. Declare the unit of both, or calibrate the one in counts"
            )
        scales = _scale(survey), _scale(sample)
        if _differ(*scales, _SCALE_TOLERANCE):
            faults.append(
                f"{what}: its pixels are {scales[1]:g} arcsec wide, the survey's {scales[0]:g}; the same galaxy has "
                "another size on them. Observe it on the survey's pixels (option like, or resample_arcsec of stamps)"
            )
        for band in bands:
            widths = survey.options.declared_fwhm_arcsec(band), sample.options.declared_fwhm_arcsec(band)
            if _differ(*widths, _PSF_TOLERANCE):
                faults.append(
                    f"{what}: its PSF in band {band} is declared {widths[1]:g} arcsec wide, the survey's "
                    f"{widths[0]:g}; a model finds the instrument and not the galaxies. Observe it through the "
                    "survey's PSF"
                )
    if faults:
        raise SpecError("\n".join(faults))


def _scale(survey: Survey) -> float | None:
    """None where the first tile's header, which would tell, cannot be read: that tile's fault is told elsewhere."""
    try:
        return survey.pixel_scale_arcsec
    except DataError:
        return None


def _differ(one: float | None, other: float | None, tolerance: float) -> bool:
    """Whether both are known and differ."""
    return one is not None and other is not None and abs(one - other) > tolerance * max(abs(one), abs(other))
