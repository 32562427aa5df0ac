"""One file explained: its HDUs, unit, zero point, WCS, mask planes, PSF, and which survey it is recognised as.

Headers alone are read. A file that cannot be read is refused with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from astropy.io import fits

from galflow.errors import DataError, SpecError, StoreError
from galflow.surveys.preset import Preset
from galflow.surveys.reading.data_models import Companion, has_flux_unit
from galflow.surveys.reading.files import StoredFile, expand_root, list_entries
from galflow.surveys.reading.fits_contents import Hdu, contents
from galflow.surveys.reading.fits_masks import STANDARD, named_bits
from galflow.surveys.reading.fits_names import path_pattern
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec
from galflow.surveys.reading.positions import pixel_to_icrs
from galflow.surveys.recognise import Claim, claim, is_fits, presets
from galflow.surveys.recognise_extensions import ExtensionBand, bands_of_extensions
from galflow.surveys.recognise_plain import ZERO_POINT_KEYWORDS, is_zero_point

_PSF_CARDS = (("PSF_FWHM", "arcsec by ESO's standard"), ("SEEING", "unit not said"), ("FWHM", "unit not said"))
_DECIMALS = 6


@dataclass
class Explained:
    """What one file is; texts are sentences for a person, "" or None where nothing is known."""

    uri: str
    hdus: list[dict[str, Any]]
    """number, name, kind, shape (y, x), pixels, unit."""
    recognised: str | None = None
    """survey.kind."""
    product: str | None = None
    band: str | None = None
    refusals: list[str] = field(default_factory=list)
    """Why surveys whose names fit refuse it."""
    image: int | None = None
    """Number of the HDU whose pixels would be read."""
    shape: tuple[int, int] | None = None
    """(y, x)."""
    unit: str = "counts: no header says a zero point or a flux"
    zero_point: float | None = None
    """AB magnitude of one count."""
    zero_point_from: str = ""
    centre_deg: tuple[float, float] | None = None
    """ICRS."""
    pixel_scale_arcsec: float | None = None
    corners_deg: list[tuple[float, float]] = field(default_factory=list)
    """ICRS of the corner pixels, counterclockwise from (0, 0)."""
    psf: str = "not known"
    planes: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Mask plane -> bit, and what galflow makes of it (None: nothing)."""
    used: dict[str, str] = field(default_factory=dict)
    """image, noise, mask -> what would be read."""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def explain(file: str) -> Explained:
    """One FITS file explained. SpecError, with the reason, for what cannot be read."""
    uri = expand_root(file)
    if not is_fits(uri):
        raise SpecError(
            f"{uri} is no FITS file by its name; expected .fits, .fits.gz, .fits.fz or .fits.bz2. Pictures are read by "
            "survey.kind: stamps, HDF5 and NPZ by stamp_cubes (`galflow init` of their folder)"
        )
    try:
        hdus = contents(uri)
    except (DataError, StoreError) as error:
        raise SpecError(str(error)) from error
    shown = [
        {"number": h.number, "name": h.name, "kind": h.kind, "shape": h.shape, "pixels": h.pixels, "unit": h.unit}
        for h in hdus
    ]
    found = Explained(uri, shown)
    claimed = _claims(uri, found.refusals)
    plane = next((hdu for hdu in hdus if hdu.is_plane), None)
    if claimed is not None:
        wanted = claimed.survey.model.image
        plane = next((h for h in hdus if h.is_plane and wanted in (None, h.number, h.name)), plane)
    if plane is None:
        found.used["image"] = "none: the file holds no 2-D image"
        return found
    found.image, found.shape = plane.number, (plane.shape[-2], plane.shape[-1])
    _unit(found, plane.header, claimed)
    _place(found, plane.header)
    _psf(found, plane.header, claimed)
    _masks(found, hdus, claimed)
    _used(found, plane, hdus, claimed)
    apart = bands_of_extensions(hdus) if claimed is None else None
    if apart is not None:
        found.used["bands"] = f"{_bands_told(apart)} (`galflow init` of its folder writes them)"
    return found


def _bands_told(bands: Mapping[str, ExtensionBand]) -> str:
    """Each band's extensions, as their names say them."""
    told = []
    for band, of in bands.items():
        beside = ", ".join(f"{role} {name}" for role, (name, _) in of.beside.items())
        image = of.image.name if of.image is not None else "none"
        told.append(f"{band}: {image}{' with ' if beside else ''}{beside}")
    return "; ".join(told)


def _claims(uri: str, refusals: list[str]) -> Claim | None:
    """The first survey that claims the file by its name and header; others' reasons go to ``refusals``."""
    root, _, name = uri.rpartition("/")
    entry = StoredFile(uri, 0, None)
    for kind, survey in presets(root):
        said = claim(kind, survey, entry, name)
        if isinstance(said, Claim):
            return said
        if said is not None and survey.model.images:
            refusals.append(said)
    return None


def _unit(found: Explained, header: fits.Header, claimed: Claim | None) -> None:
    if claimed is not None:
        survey = claimed.survey
        found.recognised, found.product, found.band = claimed.kind, survey.model.product, claimed.band
        point = survey.zero_point(header, found.uri)
        if point is not None:
            cards = [card for card in survey.model.zero_point_keywords if card in header]
            found.zero_point, found.zero_point_from = point, f"the header's {cards[0] if cards else 'cards'}"
        elif survey.model.zero_point is not None and not has_flux_unit(header):
            found.zero_point, found.zero_point_from = survey.model.zero_point, "the survey's data model"
    else:
        card = next((card for card in ZERO_POINT_KEYWORDS if is_zero_point(header.get(card))), None)
        if card is not None:
            found.zero_point, found.zero_point_from = float(header[card]), f"the header's {card}, if it is AB"
    if found.zero_point is not None:
        found.unit = f"counts of AB zero point {found.zero_point:.4f}, by {found.zero_point_from}"
    elif has_flux_unit(header):
        found.unit = f"{str(header['BUNIT']).strip()}, by BUNIT"


def _place(found: Explained, header: fits.Header) -> None:
    """Centre, scale and corners of the WCS."""
    if found.shape is None:
        return
    try:
        wcs = celestial_wcs(header, found.uri)
    except DataError as error:
        found.refusals.append(str(error))
        return
    if wcs is None:
        return
    height, width = found.shape
    x = np.array([(width - 1) / 2, 0, width - 1, width - 1, 0])
    y = np.array([(height - 1) / 2, 0, 0, height - 1, height - 1])
    ra, dec = pixel_to_icrs(wcs, x, y)
    points = [(round(float(a), _DECIMALS), round(float(d), _DECIMALS)) for a, d in zip(ra, dec, strict=True)]
    found.centre_deg, found.corners_deg = points[0], points[1:]
    found.pixel_scale_arcsec = round(local_pixel_scale_arcsec(wcs, found.shape), _DECIMALS)


def _psf(found: Explained, header: fits.Header, claimed: Claim | None) -> None:
    if claimed is not None:
        model, scale = claimed.survey.model, found.pixel_scale_arcsec or 0.0
        fwhm = model.fwhm_arcsec(header, scale)
        if fwhm is not None:
            found.psf = f"FWHM {fwhm:.3f} arcsec, by the header"
        elif "psfsize" in claimed.survey.extra:
            found.psf = "FWHM by the psfsize map beside it, if it is there"
        return
    card = next(((card, unit) for card, unit in _PSF_CARDS if isinstance(header.get(card), int | float)), None)
    if card is not None:
        found.psf = f"{card[0]} = {header[card[0]]:g} ({card[1]}); psf.fwhm_keyword takes it"


def _masks(found: Explained, hdus: list[Hdu], claimed: Claim | None) -> None:
    """Planes that a header of the file names, and those that the survey publishes by bit."""
    declared = None if claimed is None else claimed.survey.planes(claimed.band)
    for hdu in hdus:
        for name, bit in named_bits(hdu.header).items():
            meaning = STANDARD.get(name) if declared is None else declared.get(name)
            found.planes[name] = {"bit": bit, "becomes": meaning}
    for given, plane in (declared or {}).items():
        if isinstance(given, int):
            found.planes[f"bit {given}"] = {"bit": given, "becomes": plane}


def _used(found: Explained, plane: Hdu, hdus: list[Hdu], claimed: Claim | None) -> None:
    found.used["image"] = f"HDU {plane.number}{f' ({plane.name})' if plane.name else ''}"
    if claimed is None:
        found.used["noise"] = "measured from the sky, unless survey.options.weight says where it is"
        found.used["mask"] = "none, unless survey.options.mask says where it is"
        return
    model = claimed.survey.model
    made = "made of what the file says besides" if claimed.survey.makes_noise else "measured from the sky"
    found.used["noise"] = _companion(claimed.survey, claimed.band, found.uri, hdus, model.weight, made)
    found.used["mask"] = _companion(claimed.survey, claimed.band, found.uri, hdus, model.mask, "none")


def _companion(survey: Preset, band: str, uri: str, hdus: list[Hdu], companion: Companion | None, without: str) -> str:
    """Where the noise or the mask of a survey's image lies, as far as it is there."""
    if companion is None:
        return without
    if companion.swap is None:
        wanted = companion.extension
        hdu = next((h for h in hdus if h.is_plane and wanted in (h.number, h.name)), None)
        return f"missing: HDU {wanted} is no image" if hdu is None else f"HDU {hdu.number} ({hdu.name})"
    root, _, name = uri.rpartition("/")
    text = survey.model.bands[band]
    for image in survey.images:
        match = path_pattern(image.replace("{band}", text), band).match(name)
        if match is None:
            continue
        beside = path_pattern(companion.pattern(image.replace("{band}", text), text), band)
        for entry in list_entries(root, "*"):
            other = entry.uri[len(root) + 1 :]
            if (beside.match(other) or {}).get("tile") == match.get("tile"):
                return f"{other}, beside it"
    return "missing: no such file lies beside it"
