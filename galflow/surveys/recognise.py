"""Which survey the files of a folder or an s3:// prefix are, by their names and by the headers of a few of them.

Every survey with a published data model (galflow.surveys.preset) is asked, whichever there are. Files of several
surveys, or of none, are refused with what was seen. It reads no pixels and writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from galflow.errors import DataError, SpecError, StoreError
from galflow.surveys.base import Tile, TileFile
from galflow.surveys.preset import Preset
from galflow.surveys.reading.data_models import Companion, Header, has_flux_unit
from galflow.surveys.reading.files import StoredFile, expand_root, list_entries
from galflow.surveys.reading.fits_inspect import stored_header
from galflow.surveys.reading.fits_names import path_pattern
from galflow.surveys.reading.fits_wcs import celestial_wcs, local_pixel_scale_arcsec
from galflow.surveys.reading.path_patterns import PathPattern
from galflow.surveys.recognise_simulation import refuse_simulations
from galflow.surveys.resolve import survey_kinds

FITS_ENDINGS = (".fits", ".fit", ".fts", ".fits.gz", ".fits.fz", ".fits.bz2")
_SHAPES_ASKED = 24
"""Kinds of file name of which one file each is asked."""
_FILES_NAMED = 3
_WITHOUT = {
    "noise": ("sky", "it is measured from the sky"),
    "mask": ("none", "no pixel is masked but missing ones"),
}
"""Option of a preset -> its value where the survey's own is not there, and what that does."""


@dataclass(frozen=True)
class Recognised:
    """What a folder was recognised as, and what a specification needs to say of it."""

    kind: str
    """survey.kind."""
    product: str
    """What its files are, such as "an HSC-SSP coadd (calexp)"."""
    options: dict[str, Any]
    """survey.options."""
    bands: tuple[str, ...]
    """The reference first."""
    pixel_scale_arcsec: float
    shape: tuple[int, int]
    """(y, x) of the first image of the reference band."""
    fwhm_arcsec: float | None
    """Of the PSF, where a header says it."""
    example: str
    """URI of that image."""
    images: int
    """Files that its patterns match."""
    known: tuple[str, ...] = ()
    """What was found, a sentence each."""
    unknown: tuple[str, ...] = ()
    """What could not be known, and what is done without it, a sentence each."""
    ready_made: bool = False
    """Whether the images are of one object each."""


@dataclass(frozen=True)
class Claim:
    """A file that is one of a survey's images."""

    kind: str
    survey: Preset
    band: str
    file: TileFile
    found: Header


@dataclass
class Asked:
    """Which surveys claim files of a folder, and why others with fitting names do not."""

    claims: dict[str, list[Claim]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def presets(root: str) -> Iterator[tuple[str, Preset]]:
    """Every survey with a published data model, on ``root``; nothing is opened."""
    for kind, survey in survey_kinds().items():
        if issubclass(survey, Preset):
            yield kind, survey(kind, "1", survey.Options.model_validate({"root": root}))


def image_patterns(survey: Preset) -> list[tuple[str, PathPattern]]:
    """(band, pattern below root) of the survey's images, of each release and compression."""
    names = survey.model.bands
    return [
        (band, path_pattern(image.replace("{band}", names[band]), band)) for image in survey.images for band in names
    ]


def claim(kind: str, survey: Preset, entry: StoredFile, path: str) -> Claim | str | None:
    """The file as the survey's, or why its header says that it is not; None where its name is another's."""
    bands = [band for band, wanted in image_patterns(survey) if wanted.match(path)]
    if not bands:
        return None
    reason = ""
    for band in bands:
        file = TileFile(f"flux/{band}", entry.uri, "", entry.stamp)
        try:
            found = survey.model.recognised(file)
            refusal = survey.refusal(band, found, Tile("t", (file,), (band,)))
            if refusal is None:
                _require_unit(survey, found, file)
        except (DataError, StoreError) as error:
            return str(error)
        if refusal is None:
            return Claim(kind, survey, band, file, found)
        reason = str(survey.model.foreign(file, refusal))
    return reason


def _require_unit(survey: Preset, found: Header, file: TileFile) -> None:
    """DataError where nothing says what a count is."""
    point = survey.zero_point(found[1], file.uri)
    if point is None and survey.model.zero_point is None and not has_flux_unit(found[1]):
        raise survey.model.lacks_unit(found[1], file)


def entries_below(root: str) -> list[StoredFile]:
    """The files below a folder or prefix; SpecError where there are none."""
    try:
        entries = [entry for entry in list_entries(root, "**") if not entry.dangling]
    except StoreError as error:
        raise SpecError(f"{error}") from error
    if not entries:
        raise SpecError(f"no file lies below {root}; give a folder or an s3:// prefix that holds a survey's images")
    return entries


def is_fits(path: str) -> bool:
    """Whether a name ends as FITS files' do."""
    return path.lower().endswith(FITS_ENDINGS)


def first_of_each_shape(paths: Sequence[str]) -> list[str]:
    """One path for each way of naming: names that differ in their digits alone are of one."""
    shapes: dict[str, str] = {}
    for path in paths:
        shapes.setdefault(re.sub(r"\d+", "0", path.rsplit("/", 1)[-1]), path)
    return list(shapes.values())[:_SHAPES_ASKED]


def ask_presets(root: str, entries: Sequence[StoredFile]) -> Asked:
    """What each survey says of one file of each shape of name."""
    by_path = {entry.uri[len(root) + 1 :]: entry for entry in entries}
    chosen = first_of_each_shape([path for path in by_path if is_fits(path)])
    asked = Asked()
    for kind, survey in presets(root):
        for path in chosen:
            said = claim(kind, survey, by_path[path], path)
            if isinstance(said, Claim):
                asked.claims.setdefault(kind, []).append(said)
            elif said is not None and survey.model.images:  # a name that fits nobody else's
                asked.refused.append(said)
    return asked


def recognise(folder: str) -> Recognised:
    """What lies below a folder or prefix. SpecError for files of several surveys, and for files of none."""
    from galflow.surveys.recognise_cubes import recognise_cubes
    from galflow.surveys.recognise_extensions import recognise_extensions
    from galflow.surveys.recognise_plain import recognise_fits, recognise_stamps

    root = expand_root(folder)
    entries = entries_below(root)
    asked = ask_presets(root, entries)
    if len(asked.claims) > 1:
        told = "; ".join(
            f"{kind}: {', '.join(c.file.uri[len(root) + 1 :] for c in claims[:_FILES_NAMED])}"
            for kind, claims in asked.claims.items()
        )
        raise SpecError(
            f"{root} holds files of several surveys ({told}); expected one. Give `galflow init` the folder of one of "
            "them, or move them apart"
        )
    if asked.claims:
        ((kind, claims),) = asked.claims.items()
        return _of_preset(folder, root, kind, claims, entries)
    refuse_simulations(root, [path for entry in entries if is_fits(path := entry.uri[len(root) + 1 :])])
    found = recognise_cubes(folder, root, entries) or recognise_stamps(folder, root, entries)
    found = found or recognise_extensions(folder, root, entries)
    return found if found is not None else recognise_fits(folder, root, entries, asked.refused)


def _of_preset(folder: str, root: str, kind: str, claims: Sequence[Claim], entries: Sequence[StoredFile]) -> Recognised:
    """A survey known by one word, with what its companions on the spot allow."""
    survey, model = claims[0].survey, claims[0].survey.model
    bands = survey.bands  # by names; VISTA's by the first header
    order = {band: number for number, band in enumerate(bands)}
    first = min(claims, key=lambda c: order.get(c.band, len(order)))
    foreign = sorted({c.band for c in claims} - set(bands))
    if foreign:
        raise SpecError(
            f"{root} holds {model.product} of bands {', '.join([*bands, *foreign])} under names that do not say the "
            f"band; move each band into a folder of its own, or write a specification with kind: {kind} and a pattern "
            "with {band} by hand"
        )
    (shape, header), uri = first.found, first.file.uri
    wcs = celestial_wcs(header, uri)
    if wcs is None:
        raise SpecError(f"{uri} has no WCS; correct its header")
    scale = local_pixel_scale_arcsec(wcs, shape)
    options: dict[str, Any] = {"root": stated_root(folder)}
    known, unknown = [f"unit: {_unit_told(survey, header, uri)}"], list[str]()
    paths = {entry.uri[len(root) + 1 :]: entry for entry in entries}
    for what, companion in (("noise", model.weight), ("mask", model.mask)):
        lacking = None if companion is None else _lacking(survey, bands, paths, companion)
        instead, without = _WITHOUT[what]
        if lacking is not None:
            options[what] = instead
            unknown.append(f"{what}: the survey publishes it, but {lacking}; {without}")
        elif what == "mask" and model.mask_names and any(re.search(model.mask_names, path) for path in paths):
            known.append("mask: the survey's own, where a frame has one")
        elif companion is None and not (what == "noise" and survey.makes_noise):
            unknown.append(f"{what}: the survey's files have none; {without}")
        else:
            known.append(f"{what}: the survey's own")
    fwhm = model.fwhm_arcsec(header, scale)
    if fwhm is not None:
        known.append(f"PSF: FWHM {fwhm:.2f} arcsec by the header")
    elif "psfsize" in survey.extra:
        known.append("PSF: FWHM of the survey's psfsize map")
    else:
        unknown.append("PSF: its FWHM is in no header; models that need it cannot be used")
    images, others = _counted(survey, bands, list(paths))
    if others:
        more = f" and {len(others) - _FILES_NAMED} more" if len(others) > _FILES_NAMED else ""
        unknown.append(f"what these FITS files are, which are not read: {', '.join(others[:_FILES_NAMED])}{more}")
    return Recognised(
        kind, model.product, options, bands, scale, shape, fwhm, uri, images, tuple(known), tuple(unknown)
    )  # fmt: skip


def _counted(survey: Preset, bands: Sequence[str], paths: Sequence[str]) -> tuple[int, list[str]]:
    """(number of images, FITS files that are neither images nor what goes with them)."""
    model = survey.model
    wanted = [pattern for _, pattern in image_patterns(survey)]
    swaps = [c for c in (model.weight, model.mask, *survey.extra.values()) if c is not None and c.swap is not None]
    beside = [
        path_pattern(companion.pattern(image.replace("{band}", model.bands[band]), model.bands[band]), band)
        for companion in swaps
        for image in survey.images
        for band in bands
    ]
    fits = [path for path in paths if is_fits(path) and not (model.mask_names and re.search(model.mask_names, path))]
    images = {path for path in fits if any(pattern.match(path) for pattern in wanted)}
    others = [p for p in fits if p not in images and not any(pattern.match(p) for pattern in beside)]
    return len(images), others


def _unit_told(survey: Preset, header: Any, uri: str) -> str:
    point = survey.zero_point(header, uri)
    if point is not None:
        return f"zero point AB {point:.3f} by the header"
    if has_flux_unit(header):
        return f"BUNIT = {header.get('BUNIT')}"
    return f"zero point AB {survey.model.zero_point:g} as published"


def _lacking(survey: Preset, bands: Sequence[str], paths: dict[str, StoredFile], companion: Companion) -> str | None:
    """Why the first image of some band has no such companion; None where all have one."""
    model = survey.model
    for band in bands:
        name = model.bands[band]
        for image in survey.images:
            wanted = path_pattern(image.replace("{band}", name), band)
            path = next((path for path in paths if wanted.match(path)), None)
            if path is not None:
                break
        else:
            continue
        text = image.replace("{band}", name)
        if companion.swap is not None:
            beside = path_pattern(companion.pattern(text, name), band)
            tile = (wanted.match(path) or {}).get("tile")
            if not any((beside.match(other) or {}).get("tile", "") == tile for other in paths):
                return f"no such file is there for {path}"
            continue
        try:
            entry = paths[path]
            stored_header(TileFile("", entry.uri, "", entry.stamp), companion.extension)
        except (DataError, StoreError) as error:
            return str(error)
    return None


def stated_root(folder: str) -> str:
    """The root as a specification says it: absolute, or with its ${NAME} and s3:// as given."""
    if "${" in folder:
        return folder
    return expand_root(folder).removeprefix("file://")
