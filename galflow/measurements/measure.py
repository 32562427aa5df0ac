"""The verb of measuring: one cutout set -> one part of measurements with its receipt.

Each chunk is read once. The same is done for a survey and for every sample that it is compared with. A row that could
not be measured has nulls, and its outcome says why; no row is ever missing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import NOT_SCORED, has_flag, outcome_text
from galflow.measurements.nonparametric import STATISTICS, measure_statistics
from galflow.measurements.part import (
    ERROR,
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
from galflow.measurements.portion import MeasuredTile, Portion, portions
from galflow.measurements.sersic_fit import SersicFits, fit_fluxes, fit_sersic
from galflow.measurements.sersic_parameters import PARAMETERS
from galflow.spec.run import fingerprint
from galflow.storage.layout import measurements_product
from galflow.storage.products import outcome_of, write_one_file
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store

MEASUREMENTS_VERSION = "1"
"""Raised when the same cutouts would give other numbers."""
BANDS_DETAIL, UNIT_DETAIL = "bands", "unit"
"""Where a part's receipt says what its fluxes are of, bands separated by blanks."""
SKY_SIGMA = 0.05
"""How well the sky of a survey's image is known to be 0, in standard deviations of a pixel's noise."""
_OFF_SKY = 0.5
"""Standard deviations that the sky of a tile's cutouts may lie off 0, in their median, before it is said."""


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
    n, tile = len(cutouts), MeasuredTile.of(cutouts, device)
    flags = cutouts.read("flags")
    wanted = ~has_flag(flags, NOT_SCORED)
    unable = {kind: _why_unable(tile, kind) for kind in what}
    outcomes = {kind: _first_outcomes(flags, unable[kind]) for kind in what}
    values = {kind: {name: np.full(n, np.nan) for name in number_columns(kind, tile.bands)} for kind in what}
    able = [kind for kind in what if unable[kind] is None]
    skies = []
    for portion in portions(cutouts, wanted) if able else ():
        skies.append(portion.segments.sky)
        for kind in able:
            found, texts = (_sersic if kind == SERSIC else _morphology)(portion, tile)
            outcomes[kind][portion.rows] = texts
            for name, numbers in found.items():
                values[kind][name][portion.rows] = numbers
    columns: dict[str, pa.Array] = {}
    for kind in what:
        columns |= {name: nullable(numbers) for name, numbers in values[kind].items()}
        columns[outcome_column(kind)] = pa.array(outcomes[kind], pa.string())
    reasons = [f"{kind} {NOT_MEASURED}{why}" for kind, why in unable.items() if why is not None]
    if SERSIC in able:
        reasons += _said_of_fits(tile, np.concatenate(skies) if skies else np.zeros(0))
    return columns, reasons if wanted.any() else []


def _first_outcomes(flags: np.ndarray, why_unable: str | None) -> np.ndarray:
    """(N,) texts: why a row is not measured; of the others what keeps the whole set from it."""
    texts = outcome_text(flags)
    wanted = ~has_flag(flags, NOT_SCORED)
    texts[~wanted] = [NOT_MEASURED + text.partition(": ")[2] for text in texts[~wanted]]
    texts[wanted] = NOT_MEASURED + (why_unable or "")
    return texts


def _why_unable(tile: MeasuredTile, kind: str) -> str | None:
    if not tile.is_flux:
        return "its pixels are stretched for display, and no flux"
    if kind == SERSIC and tile.psfs[0] is None:
        return f"the tile has no PSF in {tile.bands[0]} (give the survey its image or its FWHM: psf_fwhm_arcsec)"
    return None


def _said_of_fits(tile: MeasuredTile, sky: np.ndarray) -> list[str]:
    without = [band for band, psf in zip(tile.bands, tile.psfs, strict=True) if psf is None]
    said = [f"{flux_column(band)} is null: the tile has no PSF in {band}" for band in without]
    off = float(np.median(sky)) / tile.sky_sigma[0] if len(sky) else 0.0
    if abs(off) > _OFF_SKY:
        said.append(
            f"the sky between the objects lies {off:.1f} standard deviations of a pixel off 0, but Sersic profiles are "
            "fitted as if it were subtracted; subtract it (option background)"
        )
    return said


def _sersic(portion: Portion, tile: MeasuredTile) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Structure in the reference band; the flux of the other bands with that structure and their own PSF and sky."""
    centre = torch.from_numpy(portion.centre).float().to(tile.device)
    pixels = portion.tensors(0, tile.device)
    fits = fit_sersic(*pixels, tile.psf(0), centre, SKY_SIGMA * tile.sky_sigma[0])
    values, errors = (dict(zip(PARAMETERS, table.cpu().numpy().T, strict=True)) for table in (fits.values, fits.errors))
    values |= {"x": values["x"] + portion.corner[:, 0], "y": values["y"] + portion.corner[:, 1]}
    for numbers in (values, errors):
        numbers["r50"] = numbers["r50"] * tile.pixel_scale_arcsec
    found = {f"{SERSIC}_{name}": values[name] for name in SERSIC_NUMBERS}
    found |= {f"{SERSIC}_{name}{ERROR}": errors[name] for name in SERSIC_NUMBERS}
    found |= {f"{SERSIC}_chi2": fits.chi2.cpu().numpy(), f"{SERSIC}_snr": fits.snr.cpu().numpy()}
    for number, band in enumerate(tile.bands):
        flux, error = (values["flux"], errors["flux"]) if number == 0 else _flux_in(portion, tile, number, fits)
        found |= {flux_column(band): flux, flux_column(band) + ERROR: error}
    return found, fit_outcomes(fits.flags.cpu().numpy())


def _flux_in(portion: Portion, tile: MeasuredTile, band: int, fits: SersicFits) -> tuple[np.ndarray, np.ndarray]:
    """(b,) flux of the fitted profiles in another band, and its error; NaN without a fit or a PSF."""
    unknown = np.full(len(portion.rows), math.nan)
    if tile.psfs[band] is None:
        return unknown, unknown
    pixels = portion.tensors(band, tile.device)
    pair = fit_fluxes(*pixels, tile.psf(band), fits.shape, SKY_SIGMA * tile.sky_sigma[band])
    fitted = ~np.isnan(fits.values[:, 0].cpu().numpy())
    flux, error = (np.where(fitted, one.cpu().numpy(), math.nan) for one in pair)
    return flux, error


def _morphology(portion: Portion, tile: MeasuredTile) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Of the reference band, above the sky between the objects."""
    flux, ivar = portion.tensors(0, tile.device)
    own = torch.from_numpy(portion.segments.own).to(tile.device)
    sky = torch.from_numpy(portion.segments.sky).float().to(tile.device)
    found = measure_statistics(flux - sky[:, None, None], ivar, own, seed=int(portion.rows[0]))
    scale = np.where(np.array(STATISTICS) == "petrosian_radius", tile.pixel_scale_arcsec, 1.0)
    values, errors = found.values.cpu().numpy() * scale, found.errors.cpu().numpy() * scale
    columns = {name: values[:, i] for i, name in enumerate(STATISTICS)}
    columns |= {name + ERROR: errors[:, i] for i, name in enumerate(STATISTICS)}
    return columns, shape_outcomes(found.flags.cpu().numpy())
