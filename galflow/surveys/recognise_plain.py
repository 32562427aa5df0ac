"""What a folder of no known survey holds: FITS tiles whose headers say their unit, or ready-made images.

Bands and tiles are guessed from file names (galflow.surveys.name_patterns), and the guess is told. A unit is never
guessed: without a zero point or a BUNIT of flux the folder is refused with what was seen. Headers and the sizes of
pictures are read, no pixels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Picture

from galflow.errors import DataError, SpecError
from galflow.surveys.name_patterns import Named, band_patterns, companion_word, swapped
from galflow.surveys.reading.data_models import has_flux_unit
from galflow.surveys.reading.files import StoredFile, read_bytes
from galflow.surveys.reading.fits_contents import Hdu, contents
from galflow.surveys.reading.fits_options import MOST_ZERO_POINT
from galflow.surveys.reading.fits_planes import LEAST_HEADER_ZERO_POINT
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec
from galflow.surveys.recognise import Recognised, first_of_each_shape, is_fits, stated_root

_PICTURES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".npy")
_LARGEST_STAMP = 256
"""Pixels a side of a FITS image that may be a stamp."""
_FEWEST_STAMPS = 50
"""So many small FITS images are stamps, fewer are tiles."""
_MOST_CUT = 64
"""Pixels a side beyond which pictures are binned."""
_FILES_ASKED = 8
_SEEN = 6
ZERO_POINT_KEYWORDS = ("MAGZERO", "MAGZPT", "PHOTZP", "ZEROPNT", "ZPMAG", "MAG_ZP", "MAGZP", "ZP")
"""Cards that name an AB magnitude of one count in one survey or another."""
PLANES = {
    "ivar": ("weight", "ivar"), "invvar": ("weight", "ivar"), "var": ("weight", "variance"),
    "variance": ("weight", "variance"), "err": ("weight", "sigma"), "rms": ("weight", "sigma"),
    "sigma": ("weight", "sigma"), "wht": ("weight", "weight"), "weight": ("weight", "weight"),
    "wei": ("weight", "weight"), "mask": ("mask", ""), "msk": ("mask", ""), "dq": ("mask", ""), "flag": ("mask", ""),
}  # fmt: skip
"""Name of a plane in lower case -> (option of fits_tiles, kind of weight)."""
_NO_IMAGE = frozenset(PLANES) | {"psf", "psfsize", "seg", "segmap", "bkg", "resid", "chi2", "nexp", "depth"}
"""Words in the names of files that are no images of the sky."""


def recognise_stamps(folder: str, root: str, entries: Sequence[StoredFile]) -> Recognised | None:
    """Ready-made images of one format; None where most files are none."""
    paths = [entry.uri[len(root) + 1 :] for entry in entries]
    pictures, tiles = [p for p in paths if p.lower().endswith(_PICTURES)], [p for p in paths if is_fits(p)]
    if len(pictures) > len(tiles):
        return _pictures(folder, root, pictures)
    if len(tiles) < _FEWEST_STAMPS or not all(_is_small(f"{root}/{p}") for p in first_of_each_shape(tiles)):
        return None
    return _fits_stamps(folder, root, tiles)


def _is_small(uri: str) -> bool:
    images = [hdu for hdu in contents(uri) if hdu.kind.endswith("image")]
    return bool(images) and max(images[0].shape[-2:]) <= _LARGEST_STAMP


def _ending(paths: Sequence[str]) -> str:
    """The ending that most names have."""
    endings = ["." + path.rsplit(".", 1)[-1] for path in paths]
    return max(sorted(set(endings)), key=endings.count)


def _pictures(folder: str, root: str, paths: Sequence[str]) -> Recognised:
    """Pictures or arrays, of which none says how large its pixels are on the sky."""
    ending = _ending(paths)
    chosen = [path for path in paths if path.endswith(ending)]
    uri = f"{root}/{chosen[0]}"
    try:
        shape, channels = _size(uri)
    except (OSError, ValueError, DataError) as error:
        raise SpecError(f"{uri} cannot be read as an image ({error}); replace the file, or take it out") from error
    bands = ("r", "g", "b") if channels == 3 else tuple(f"band{n}" for n in range(channels)) if channels > 1 else ("l",)
    side = min(shape)
    options: dict[str, Any] = {"root": stated_root(folder), "pattern": f"**{ending}", "bands": list(bands)}
    options["pixel_scale_arcsec"] = 1.0
    block = -(-side // _MOST_CUT)
    if block > 1:
        options |= {"crop": side // block * block, "bin": block, "bin_mode": "mean"}
    others = len(paths) - len(chosen)
    unknown = [
        "pixel scale: no picture says it; 1 arcsec is written, which only sizes in arcsec depend on",
        "positions: pictures have none on the sky",
    ]
    if others:
        unknown.append(f"{others} images of another format are left out; pattern may be a list")
    known = [f"bands: {', '.join(bands)}, the channels of {chosen[0]} ({shape[1]} x {shape[0]} pixels)"]
    return Recognised(
        "stamps", f"pictures of single objects (*{ending})", options, bands, 1.0 * block,
        (shape[0] // block, shape[1] // block), None, uri, len(chosen), tuple(known), tuple(unknown), True,
    )  # fmt: skip


def _size(uri: str) -> tuple[tuple[int, int], int]:
    """((y, x), channels) of a picture or an array."""
    content = io.BytesIO(read_bytes(uri))
    if uri.lower().endswith(".npy"):
        shape = np.load(content, allow_pickle=False).shape
        if len(shape) not in (2, 3):
            raise ValueError(f"it holds an array of shape {shape}; expected (y, x) or (band, y, x)")
        return (int(shape[-2]), int(shape[-1])), 1 if len(shape) == 2 else int(shape[0])
    with Picture.open(content) as picture:
        grey = picture.mode in ("1", "L", "LA", "I", "F") or picture.mode.startswith("I;")
        return (picture.height, picture.width), 1 if grey else 3


def _fits_stamps(folder: str, root: str, paths: Sequence[str]) -> Recognised:
    """Small FITS images, one an object, their bands in a cube or one."""
    uri = f"{root}/{paths[0]}"
    hdu = next(hdu for hdu in contents(uri) if hdu.kind.endswith("image"))
    shape, channels = (hdu.shape[-2], hdu.shape[-1]), hdu.shape[0] if len(hdu.shape) > 2 else 1
    bands = tuple(f"band{n}" for n in range(channels)) if channels > 1 else ("image",)
    wcs = celestial_wcs(hdu.header, uri)
    scale = local_pixel_scale_arcsec(wcs, shape) if wcs is not None else 1.0
    options: dict[str, Any] = {"root": stated_root(folder), "pattern": f"**{_ending(paths)}", "bands": list(bands)}
    options["pixel_scale_arcsec"] = round(scale, 4)
    unknown = [] if wcs is not None else ["pixel scale: no header has a WCS; 1 arcsec is written"]
    point = hdu.header.get("MAGZERO")
    if isinstance(point, float | int):
        options["zero_point_ab"] = float(point)
    else:
        unknown.append("unit: pixels are taken for counts")
    unknown.append("bands: names of a cube's layers are numbers")
    return Recognised(
        "stamps", "FITS images of single objects", options, bands, scale, shape, None, uri,
        len(paths), (), tuple(unknown), True,
    )  # fmt: skip


def recognise_fits(folder: str, root: str, entries: Sequence[StoredFile], refused: Sequence[str]) -> Recognised:
    """FITS images whose headers say their unit, by the bands in their names. SpecError, with what was seen, else."""
    paths = [entry.uri[len(root) + 1 :] for entry in entries]
    images = [path for path in paths if is_fits(path) and companion_word(path, _NO_IMAGE) is None]
    if not images:
        raise SpecError(
            f"{root} holds no FITS images and no pictures, but {', '.join(paths[:_SEEN])}"
            f"{f' and {len(paths) - _SEEN} more' if len(paths) > _SEEN else ''}; give the folder of a survey's images"
        )
    first = contents(f"{root}/{images[0]}")
    plane = next((hdu for hdu in first if hdu.is_plane), None)
    named = None if plane is None else band_patterns(images, str(plane.header.get("FILTER", "")))
    if plane is None or named is None:
        raise _unknown(root, images, first, refused)
    options: dict[str, Any] = {"root": stated_root(folder), "bands": dict(named.patterns)}
    unit = _unit(root, named, options)
    if unit is None:
        raise _unknown(root, images, first, refused)
    uri = f"{root}/{named.first}"
    hdus = contents(uri)
    reference = next(hdu for hdu in hdus if hdu.is_plane)
    shape = (reference.shape[-2], reference.shape[-1])
    wcs = celestial_wcs(reference.header, uri)
    if wcs is None:
        raise SpecError(
            f"{uri} has no WCS; write a specification by hand with survey.options.nominal or pixel_scale_arcsec "
            "(`galflow schema fits_tiles`)"
        )
    known = [
        f"unit: {unit}",
        f"bands, guessed from file names: {', '.join(f'{band} is {p}' for band, p in named.patterns.items())}",
    ]
    unknown = ["PSF: not known; psf.fwhm_arcsec or psf.fwhm_keyword declares it"]
    further = [h.name or str(h.number) for h in first if h.is_plane and h is not plane and h.name.lower() not in PLANES]
    if further:
        unknown.append(
            f"what the other images of a file are ({', '.join(further[:_SEEN])}); a pattern's end names one, as "
            f"file.fits[{further[0]}]"
        )
    if "BUNIT" not in unit:
        unknown.append("zero point: whether it is AB and of one count of the image as stored, no header says; check it")
    for what, without in (("weight", "the noise is measured from the sky"), ("mask", "only missing pixels are masked")):
        found = _plane(what, paths, named, hdus)
        if found is None:
            unknown.append(f"{what}: none was found; {without}")
        else:
            options[what] = found
            known.append(f"{what}: {found.get('extension', found['pattern'])}")
            if what == "mask":
                unknown.append("mask: what its bits mean; any non-zero pixel is BAD (mask.planes tells them apart)")
    return Recognised(
        "fits_tiles", "FITS images", options, tuple(named.patterns), local_pixel_scale_arcsec(wcs, shape), shape,
        None, uri, len(images), tuple(known), tuple(unknown),
    )  # fmt: skip


def _unit(root: str, named: Named, options: dict[str, Any]) -> str | None:
    """What the headers of the first files of each band say, put into ``options``; None where they say nothing."""
    headers = {
        band: [next((h.header for h in contents(f"{root}/{path}") if h.is_plane), None) for path in paths]
        for band, paths in named.examples.items()
    }
    every = [header for of_band in headers.values() for header in of_band]
    if any(header is None for header in every):
        return None
    for card in ZERO_POINT_KEYWORDS:
        if all(is_zero_point(header.get(card)) for header in every if header is not None):
            options["zero_point_keyword"] = card
            return f"zero point by the card {card}, taken for AB"
    if all(has_flux_unit(header) for header in every if header is not None):
        options["unit"] = "bunit"
        return f"BUNIT = {every[0]['BUNIT'] if every[0] is not None else ''}"
    return None


def is_zero_point(value: object) -> bool:
    """Whether a card's value may be an AB magnitude of one count."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and LEAST_HEADER_ZERO_POINT <= float(value) <= MOST_ZERO_POINT  # type: ignore[arg-type]


def _plane(what: str, paths: Sequence[str], named: Named, hdus: Sequence[Hdu]) -> dict[str, Any] | None:
    """Options of the weight or mask: an extension beside the image, or files whose names differ by its word."""
    shape = next(hdu.shape for hdu in hdus if hdu.is_plane)
    for hdu in hdus:
        role, kind = PLANES.get(hdu.name.lower(), ("", ""))
        if role == what and hdu.is_plane and hdu.shape == shape:
            return {"pattern": dict(named.patterns), "extension": hdu.name} | ({"kind": kind} if kind else {})
    for path in paths:
        word = companion_word(path, PLANES) if is_fits(path) else None
        if word is None or PLANES[word][0] != what:
            continue
        patterns = swapped(named, path, paths)
        if patterns is not None:
            kind = PLANES[word][1]
            return {"pattern": patterns} | ({"kind": kind} if kind else {})
    return None


def _unknown(root: str, images: Sequence[str], hdus: Sequence[Hdu], refused: Sequence[str]) -> SpecError:
    """What was seen of a folder that nothing recognises, and what to write by hand."""
    told = ", ".join(
        f"{hdu.number} {hdu.name or hdu.kind} {hdu.shape} BUNIT = {hdu.unit or 'none'}" for hdu in hdus[:_SEEN]
    )
    names = ", ".join(first_of_each_shape(images)[:_SEEN])
    near = f" Named as a survey's, but refused: {refused[0]}." if refused else ""
    return SpecError(
        f"{root} is of no survey that galflow knows, and its headers give no zero point "
        f"({', '.join(ZERO_POINT_KEYWORDS)}) and no BUNIT of flux. Seen: {names}; HDUs of {images[0]}: {told}.{near} "
        'Write by hand: survey: {kind: fits_tiles, options: {root: ..., bands: {r: "{tile}_r.fits"}, zero_point: '
        "..., pixel_scale_arcsec: ...}}; `galflow schema fits_tiles` explains every option"
    )
