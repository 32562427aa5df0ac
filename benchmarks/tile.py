"""The tiles that the ingest benchmark cuts: made from a fixed seed, written as FITS, with a catalogue beside them.

Smooth blobs on noise in three bands with one WCS: to a reader and a codec it looks like a sky-subtracted coadd.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.wcs import WCS
from scipy import ndimage

from galflow.surveys.fits_tiles import FitsTiles
from galflow.surveys.reading.fits_options import (
    CatalogOptions,
    FitsTilesOptions,
    MaskOptions,
    NominalWcs,
    WeightOptions,
)

BANDS = ("g", "r", "i")
SIDE, OBJECTS = 2600, 1500
PATCH_SIDE, PATCH_OBJECTS = 4200, 4000
"""A patch of HSC's size, with as many galaxies as it has above magnitude 23 or so."""
SKY_SIGMA = 10.0
"""Counts."""
PIXEL_SCALE_ARCSEC = 0.2
ZERO_POINT = 27.0
CATALOG = "catalog.parquet"

Kind = Literal["plain", "patch", "weights", "rice", "gzip"]


@dataclass(frozen=True)
class BenchTile:
    """One tile on disk: what galflow is told of it, and what the bare ways of reading it need."""

    title: str
    survey: FitsTiles
    files: dict[str, Path]
    """Band -> image."""
    extension: int
    wcs: WCS
    x: np.ndarray
    """(N,) 0-based pixels."""
    y: np.ndarray
    weights: dict[str, Path]
    """Band -> inverse variance in the image's own unit; empty: none."""
    masks: dict[str, Path]


def tan_wcs(side: int) -> WCS:
    """North up, east left, around (150, 2) degrees."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, 2.0]
    wcs.wcs.crpix = [(side + 1) / 2, (side + 1) / 2]
    wcs.wcs.cdelt = [-PIXEL_SCALE_ARCSEC / 3600, PIXEL_SCALE_ARCSEC / 3600]
    wcs.wcs.set()
    return wcs


def make_tile(folder: Path, kind: Kind) -> BenchTile:
    """Write three bands of ``SIDE`` x ``SIDE`` float32 and a catalogue of ``OBJECTS``, the same sky for every kind.

    "plain": uncompressed. "patch": the same, ``PATCH_SIDE`` on a side with ``PATCH_OBJECTS``. "weights": uncompressed,
    each with an inverse-variance and a mask image. "rice": tile-compressed, with q=16 dither as survey archives do.
    "gzip": each file gzipped.
    """
    side, objects = (PATCH_SIDE, PATCH_OBJECTS) if kind == "patch" else (SIDE, OBJECTS)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    wcs = tan_wcs(side)
    x, y = rng.uniform(-0.5, side - 0.5, (2, objects))
    shape = _blobs(side, x, y, rng)
    suffix = ".fits.gz" if kind == "gzip" else ".fits"
    files = {band: folder / f"{band}{suffix}" for band in BANDS}
    weights: dict[str, Path] = {}
    masks: dict[str, Path] = {}
    for i, band in enumerate(BANDS):
        flux = shape * (1 + 0.5 * i) + rng.normal(0.0, SKY_SIGMA, (side, side))
        _write(files[band], flux.astype(np.float32), wcs, kind)
        if kind == "weights":
            weights[band], masks[band] = folder / f"{band}.ivar.fits", folder / f"{band}.mask.fits"
            ivar = SKY_SIGMA**-2 * (1 + 0.1 * rng.random((side, side)))
            _write(weights[band], ivar.astype(np.float32), wcs, kind)
            bad = ndimage.binary_dilation(rng.random((side, side)) < 1e-5, iterations=2)
            _write(masks[band], bad.astype(np.int16), wcs, kind)
    _write_catalog(folder / CATALOG, x, y, wcs, rng)
    options = FitsTilesOptions(
        root=str(folder),
        bands={band: path.name for band, path in files.items()},
        tile="bench",
        zero_point=ZERO_POINT,
        catalog=CatalogOptions(path=CATALOG),
        weight=WeightOptions(pattern="{band}.ivar.fits") if weights else None,
        mask=MaskOptions(pattern="{band}.mask.fits") if masks else None,
    )
    title = {
        "plain": "plain FITS",
        "patch": "plain FITS of an HSC patch's size",
        "gzip": "gzipped FITS",
        "rice": "Rice-compressed FITS",
        "weights": "plain FITS with inverse-variance and mask images",
    }[kind]
    survey = FitsTiles("bench", "1", options)
    return BenchTile(title, survey, files, 1 if kind == "rice" else 0, wcs, x, y, weights, masks)


def kids_tile(data: Path, folder: Path) -> BenchTile:
    """The real tile of ``data`` (KiDS g r i, compressed, without WCS) with a catalogue of random positions."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(2)
    files = {band: data / f"{band}.fits" for band in BANDS}
    with fits.open(files["g"]) as hdus:
        height, width = hdus[1].shape
    x, y = rng.uniform(-0.5, width - 0.5, OBJECTS), rng.uniform(-0.5, height - 0.5, OBJECTS)
    wcs = tan_wcs(width)
    _write_catalog(folder / CATALOG, x, y, wcs, rng)
    options = FitsTilesOptions(
        root=str(data),
        bands={band: path.name for band, path in files.items()},
        tile="kids",
        nominal=NominalWcs(ra_deg=150.0, dec_deg=2.0, pixel_scale_arcsec=PIXEL_SCALE_ARCSEC),
        catalog=CatalogOptions(path=str(folder / CATALOG)),
    )
    return BenchTile("real KiDS tile", FitsTiles("kids", "1", options), files, 1, wcs, x, y, {}, {})


def _blobs(side: int, x: np.ndarray, y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Light at the positions, (side, side), counts: a third each with a sigma of 1, 2 and 4 pixels."""
    light = np.zeros((side, side))
    for i, sigma in enumerate((1.0, 2.0, 4.0)):
        points = np.zeros((side, side))
        chosen = slice(i, None, 3)
        flux = 1e3 * rng.pareto(1.5, len(x[chosen])) + 1e3
        np.add.at(points, (np.rint(y[chosen]).astype(int) % side, np.rint(x[chosen]).astype(int) % side), flux)
        light += ndimage.gaussian_filter(points, sigma)
    return light


def _write(path: Path, pixels: np.ndarray, wcs: WCS, kind: Kind) -> None:
    header = wcs.to_header()
    if kind == "rice":
        hdu = fits.CompImageHDU(pixels, header, compression_type="RICE_1", quantize_level=16, quantize_method=1)
        fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path)
    else:
        fits.PrimaryHDU(pixels, header).writeto(path)


def _write_catalog(path: Path, x: np.ndarray, y: np.ndarray, wcs: WCS, rng: np.random.Generator) -> None:
    """Ids, positions on the sky, and six more columns that travel along."""
    ra, dec = wcs.all_pix2world(x, y, 0)
    columns = {"object_id": np.arange(1, len(x) + 1) * 10**12, "ra_deg": ra, "dec_deg": dec}
    columns |= {f"mag_{band}": rng.uniform(18, 25, len(x)) for band in BANDS}
    columns |= {name: rng.uniform(0, 5, len(x)) for name in ("radius_arcsec", "sersic_n", "redshift")}
    pq.write_table(pa.table(columns), path)
