"""The verb of measuring: one cutout set -> one part of measurements with its receipt.

Each chunk is read once. The same is done for a survey and for every sample that it is compared with. A row that could
not be measured has nulls, and its outcome says why; no row is ever missing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from galflow.cutouts.batches import psf_of
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.displayed import white_of
from galflow.cutouts.flags import NOT_SCORED, has_flag, outcome_text
from galflow.measurements.nonparametric import STATISTICS, measure_statistics
from galflow.measurements.part import (
    ERROR,
    MORPHOLOGY,
    NOT_MEASURED,
    SERSIC,
    SERSIC_NUMBERS,
    fit_outcomes,
    flux_column,
    nullable,
    number_columns,
    outcome_column,
    shape_outcomes,
)
from galflow.measurements.segmentation import Segments, segment
from galflow.measurements.sersic_fit import PARAMETERS, fit_fluxes, fit_sersic
from galflow.spec.run import fingerprint
from galflow.storage.layout import measurements_product
from galflow.storage.products import outcome_of, write_one_file
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.reading.windows import corners

MEASUREMENTS_VERSION = "1"
"""Raised when the same cutouts would give other numbers."""
BANDS_DETAIL, UNIT_DETAIL = "bands", "unit"
"""Where a part's receipt says what its fluxes are of, bands separated by blanks."""
_ROWS = 512
"""Measured at a time, so that memory is bounded whatever a chunk holds."""


def measurements_fingerprint(cutouts: str, what: Sequence[str]) -> str:
    """Of what a part of measurements depends on: its cutout set, and what is measured."""
    return fingerprint(MEASUREMENTS_VERSION, cutouts, sorted(what))


def measure_set(
    store: Store, cutouts: CutoutSet, cutouts_fingerprint: str, what: Sequence[str], device: str = "cpu"
) -> Receipt:
    """Measure ``what`` on every cutout of a set, store the part and its receipt, and return the receipt."""
    started = time.perf_counter()
    attributes, found = cutouts.attributes, measurements_fingerprint(cutouts_fingerprint, what)
    columns, reasons = measured_columns(cutouts, what, device)
    n = len(cutouts)
    table = pa.table({"row": pa.array(np.arange(n)), "id_in_tile": cutouts.column("object_id"), **columns})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    outcome, told = outcome_of(reasons, empty=None if n else "the cutout set is empty")
    receipt = Receipt(
        product=measurements_product(attributes["survey"], attributes["release"], attributes["tile"], found),
        fingerprint=found,
        inputs={"cutouts": cutouts_fingerprint},
        rows=n,
        outcome=outcome,
        reasons=told,
        details={
            "tile": attributes["tile"],
            BANDS_DETAIL: " ".join(attributes["bands"]),
            UNIT_DETAIL: attributes["unit"],
        },
    )
    return write_one_file(store, receipt, sink.getvalue().to_pybytes(), started)


def measured_columns(
    cutouts: CutoutSet, what: Sequence[str], device: str = "cpu"
) -> tuple[dict[str, pa.Array], list[str]]:
    """Columns of every row by name, in order, and what is to be said of the whole set."""
    n, bands = len(cutouts), list(cutouts.attributes["bands"])
    flags = cutouts.read("flags")
    wanted = ~has_flag(flags, NOT_SCORED)
    psfs = _psfs(cutouts)
    unable = {kind: _why_unable(cutouts, kind, psfs) for kind in what}
    outcomes = {kind: _first_outcomes(flags, unable[kind]) for kind in what}
    values = {kind: {name: np.full(n, np.nan) for name in number_columns(kind, bands)} for kind in what}
    able = [kind for kind in what if unable[kind] is None]
    for portion in _portions(cutouts, wanted) if able else ():
        for kind in able:
            found, texts = _MEASURES[kind](portion, cutouts, psfs, device)
            outcomes[kind][portion.rows] = texts
            for name, numbers in found.items():
                values[kind][name][portion.rows] = numbers
    columns: dict[str, pa.Array] = {}
    for kind in what:
        columns |= {name: nullable(numbers) for name, numbers in values[kind].items()}
        columns[outcome_column(kind)] = pa.array(outcomes[kind], pa.string())
    return columns, [f"{kind} {NOT_MEASURED}{why}" for kind, why in unable.items() if why is not None and wanted.any()]


def _first_outcomes(flags: np.ndarray, why_unable: str | None) -> np.ndarray:
    """(N,) texts: why a row is not measured; of the others what keeps the whole set from it."""
    texts = outcome_text(flags)
    wanted = ~has_flag(flags, NOT_SCORED)
    texts[~wanted] = [NOT_MEASURED + text.partition(": ")[2] for text in texts[~wanted]]
    texts[wanted] = NOT_MEASURED + (why_unable or "")
    return texts


def _why_unable(cutouts: CutoutSet, kind: str, psfs: Sequence[np.ndarray | None]) -> str | None:
    if any(white_of(cutouts.attributes)):
        return "its pixels are stretched for display, and no flux"
    if kind == SERSIC and psfs[0] is None:
        band = cutouts.attributes["bands"][0]
        return f"the tile has no PSF in {band} (give the survey its image or its FWHM, as option psf_fwhm_arcsec)"
    return None


def _psfs(cutouts: CutoutSet) -> list[np.ndarray | None]:
    """The PSF image of each band, (y, x); None where the survey tells nothing of it."""
    known = [cutouts.has("psf") or bool(f) for f in cutouts.attributes["psf_fwhm_arcsec"]]
    if not any(known):
        return [None] * len(known)
    with np.errstate(invalid="ignore", divide="ignore"):  # of a band without a width, whose image is not used
        images = psf_of(cutouts)
    return [image if told and np.isfinite(image).all() else None for image, told in zip(images, known, strict=True)]


@dataclass(frozen=True, eq=False)
class _Portion:
    """Some rows of one chunk."""

    rows: np.ndarray
    flux: np.ndarray
    """(b, band, y, x), 0 where missing."""
    ivar: np.ndarray
    centre: np.ndarray
    """(b, 2): x, y of the catalogue's position, in pixels of the cutout."""
    segments: Segments
    """Of the reference band."""

    def tensors(self, band: int, device: str) -> tuple[Tensor, Tensor]:
        """Flux and inverse variance (b, y, x) of a band, the latter 0 also where a neighbour is."""
        ivar = np.where(self.segments.neighbour, 0, self.ivar[:, band])
        return torch.from_numpy(self.flux[:, band].copy()).to(device), torch.from_numpy(ivar).to(device)


def _portions(cutouts: CutoutSet, wanted: np.ndarray) -> Iterator[_Portion]:
    size = cutouts.pixel_shape[-1]
    place = np.stack([cutouts.read(name) for name in ("x_pixel", "y_pixel")], axis=1).astype(np.float64)
    for chunk in cutouts.chunks():
        inside = np.flatnonzero(wanted[chunk])
        if not len(inside):
            continue
        flux, ivar = cutouts.read("flux", chunk), cutouts.read("ivar", chunk)
        for start in range(0, len(inside), _ROWS):
            some = inside[start : start + _ROWS]
            weight = np.where(np.isfinite(flux[some]), ivar[some], 0).astype(np.float32)
            light = np.where(weight > 0, flux[some], 0).astype(np.float32)
            rows = some + chunk.start
            centre = place[rows] - corners(place[rows], size)
            yield _Portion(rows, light, weight, centre, segment(light[:, 0], weight[:, 0], centre))


def _sersic(
    portion: _Portion, cutouts: CutoutSet, psfs: Sequence[np.ndarray | None], device: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Structure in the reference band; the flux of the other bands with that structure and their own PSF and sky."""
    scale = float(cutouts.attributes["pixel_scale_arcsec"])
    bands = cutouts.attributes["bands"]
    centre = torch.from_numpy(portion.centre).float().to(device)
    fits = fit_sersic(*portion.tensors(0, device), _on(psfs[0], device), centre)
    # From the cutout's pixels to those of the tile, in which the catalogue's x and y are.
    corner = np.stack([cutouts.read(name)[portion.rows] for name in ("x_pixel", "y_pixel")], 1) - portion.centre
    values, errors = (dict(zip(PARAMETERS, table.cpu().numpy().T, strict=True)) for table in (fits.values, fits.errors))
    values |= {"x": values["x"] + corner[:, 0], "y": values["y"] + corner[:, 1], "r50": values["r50"] * scale}
    errors["r50"] = errors["r50"] * scale
    found = {f"{SERSIC}_{name}": values[name] for name in SERSIC_NUMBERS}
    found |= {f"{SERSIC}_{name}{ERROR}": errors[name] for name in SERSIC_NUMBERS}
    found |= {f"{SERSIC}_chi2": fits.chi2.cpu().numpy(), f"{SERSIC}_snr": fits.snr.cpu().numpy()}
    flux, error = values["flux"], errors["flux"]
    for number, band in enumerate(bands):
        if number:
            psf = psfs[number]
            pair = (
                (np.full_like(flux, np.nan),) * 2
                if psf is None
                else tuple(
                    t.cpu().numpy() for t in fit_fluxes(*portion.tensors(number, device), _on(psf, device), fits.shape)
                )
            )
            unknown = np.isnan(values["flux"])
            flux, error = (np.where(unknown, np.nan, one) for one in pair)
        found |= {flux_column(band): flux, flux_column(band) + ERROR: error}
    return found, fit_outcomes(fits.flags.cpu().numpy())


def _on(psf: np.ndarray | None, device: str) -> Tensor:
    return torch.from_numpy(np.asarray(psf, np.float32)).to(device)


def _morphology(
    portion: _Portion, cutouts: CutoutSet, psfs: Sequence[np.ndarray | None], device: str
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Of the reference band, above the sky between the objects."""
    flux, ivar = portion.tensors(0, device)
    own = torch.from_numpy(portion.segments.own).to(device)
    sky = torch.from_numpy(portion.segments.sky).float().to(device)
    found = measure_statistics(flux - sky[:, None, None], ivar, own, seed=int(portion.rows[0]))
    values, errors = found.values.cpu().numpy(), found.errors.cpu().numpy()
    scale = np.where(np.array(STATISTICS) == "petrosian_radius", float(cutouts.attributes["pixel_scale_arcsec"]), 1.0)
    values, errors = values * scale, errors * scale
    columns = {name: values[:, i] for i, name in enumerate(STATISTICS)}
    columns |= {name + ERROR: errors[:, i] for i, name in enumerate(STATISTICS)}
    return columns, shape_outcomes(found.flags.cpu().numpy())


_MEASURES = {SERSIC: _sersic, MORPHOLOGY: _morphology}
