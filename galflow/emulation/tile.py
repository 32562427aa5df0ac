"""One tile of an emulated survey: images with noise, inverse variance, PSF and the truth, as a product of the store.

In memory are the tile's bands and a batch of galaxies; a survey of any size is made tile by tile.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from astropy.io import fits
from astropy.wcs import WCS

from galflow.emulation.field import FieldTile
from galflow.emulation.galaxies import sampled_psf
from galflow.emulation.source import DrawnGalaxies, GalaxySource
from galflow.photometry import AB_ZERO_NJY
from galflow.spec.emulation import EmulatedBand
from galflow.spec.run import fingerprint
from galflow.storage.checksums import FileSum
from galflow.storage.layout import emulated_tile
from galflow.storage.products import write_product
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.drawing.galaxies import add_stamp

VERSION = "1"
"""Raised when the same specification would give other pixels."""
TRUTH, PSF_FILE, IVAR = "truth.parquet", "{band}.psf.fits", "IVAR"
_AT_A_TIME = 64
_UNITS = {
    "ra": "deg",
    "dec": "deg",
    "x": "pixel",
    "y": "pixel",
    "half_light_radius_drawn_arcsec": "arcsec",
    "draw_magnitude_off": "mag",
    "draw_radius_off_arcsec": "arcsec",
}


def survey_fingerprint(emulator: GalaxySource, catalogue: str) -> str:
    """Of an emulated survey: its specification, the model, and ``catalogue``, a checksum of its objects."""
    said = emulator.spec.model_dump(
        mode="json", exclude={"store", "cluster", "name", "model", "objects"} | emulator.left_out
    )
    return fingerprint("emulated", VERSION, said, emulator.model.card.fingerprint, catalogue)


def tile_fingerprint(survey: str, tile: str) -> str:
    """Of one tile of the survey with that fingerprint."""
    return fingerprint(survey, tile)


def emulate_tile(store: Store, emulator: GalaxySource, tile: FieldTile, survey: str) -> Receipt:
    """Draw, observe and write one tile of the survey with the fingerprint ``survey``; its receipt."""
    began = time.perf_counter()
    spec = emulator.spec
    bands, size = spec.telescope.bands, tile.size
    canvas = {name: np.zeros((size, size), np.float32) for name in bands}
    brought: dict[str, npt.NDArray[np.float32]] = {}
    """Band -> variance of the noise that came with the galaxies."""
    truth = []
    for rows, drawn, known in _galaxies(emulator, tile):
        y, x = (np.rint(rows[name].to_numpy()).astype(int) for name in ("y", "x"))
        for name, images in drawn.stamps.items():
            for image, row, column in zip(images, y.tolist(), x.tolist(), strict=True):
                add_stamp(canvas[name], image, row, column)
        for name, variances in drawn.noise_variance.items():
            noisy = brought.setdefault(name, np.zeros((size, size), np.float32))
            flat = np.ones(drawn.stamps[name].shape[1:], np.float32)
            for variance, row, column in zip(variances.tolist(), y.tolist(), x.tolist(), strict=True):
                add_stamp(noisy, np.float32(variance) * flat, row, column)
        truth.append(known.filter(known["home"]).drop_columns("home"))
    found = pa.concat_tables(truth)
    wcs = tile.wcs
    product = emulated_tile(spec.name, survey, tile.name)
    receipt = Receipt(
        product=product,
        fingerprint=tile_fingerprint(survey, tile.name),
        inputs={"survey": survey, "model": emulator.model.card.fingerprint},
        rows=len(found),
        details={"tile": tile.name},
    )

    def put(key: str) -> Mapping[str, FileSum]:
        files = {TRUTH: store.put_once(f"{key}/{TRUTH}", _parquet(found))}
        for number, (name, band) in enumerate(bands.items()):
            noise = np.random.default_rng([spec.seed, 1, tile.column, tile.row, number])
            lacking = _lacking(band.sky_sigma_njy, brought.get(name))
            image = canvas[name] + lacking * noise.standard_normal((size, size), np.float32)
            variance = None if name not in brought else np.maximum(brought[name], np.float32(band.sky_sigma_njy**2))
            data = {f"{name}.fits": _image(image, wcs, name, emulator, variance)}
            data[PSF_FILE.format(band=name)] = _psf(band, spec.telescope.pixel_scale_arcsec)
            files |= {path: store.put_once(f"{key}/{path}", content) for path, content in data.items()}
        return files

    return write_product(store, receipt, put, began)


def _lacking(sigma: float, brought: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float32] | np.float32:
    """Noise that makes ``sigma`` of what came with the galaxies; 0 where more than that came."""
    if brought is None:
        return np.float32(sigma)
    return np.asarray(np.sqrt(np.maximum(np.float32(sigma**2) - brought, 0)))


def _galaxies(emulator: GalaxySource, tile: FieldTile) -> Iterator[tuple[pa.Table, DrawnGalaxies, pa.Table]]:
    """Batches of a tile's objects: their rows, what was drawn for them, and what is true of them."""
    for start in range(0, len(tile.objects), _AT_A_TIME):
        rows = tile.objects.slice(start, _AT_A_TIME)
        conditions = (
            np.stack([rows[name].to_numpy() for name in emulator.conditions], axis=1)
            if (emulator.conditions)
            else np.empty((len(rows), 0))
        )
        y, x = rows["y"].to_numpy(), rows["x"].to_numpy()
        drawn = emulator.draw(rows["object_id"].to_numpy(), conditions, y - np.rint(y), x - np.rint(x))
        known = rows
        for name, values in drawn.known.items():
            known = known.append_column(name, pa.array(values))
        yield rows, drawn, known


def _parquet(table: pa.Table) -> bytes:
    """The truth; units in the columns' metadata."""
    fields = []
    for field in table.schema:
        unit = _UNITS.get(field.name, "nJy" if field.name.startswith("flux_") else "")
        fields.append(field.with_metadata({"unit": unit} if unit else None))
    sink = pa.BufferOutputStream()
    pq.write_table(table.cast(pa.schema(fields)), sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def _image(
    image: npt.NDArray[np.float32],
    wcs: WCS,
    name: str,
    emulator: GalaxySource,
    variance: npt.NDArray[np.float32] | None,
) -> bytes:
    """The FITS file of one band: pixels in counts, and their inverse variance; None: that of its noise everywhere."""
    band = emulator.spec.telescope.bands[name]
    njy = band.njy_per_count
    header = wcs.to_header()
    header["FILTER"] = name
    header["BUNIT"] = ("nJy" if band.zero_point is None else "count", "unit of the pixels")
    header["MAGZERO"] = (zero_point_of(band), "AB magnitude of one of it")
    header["SEEING"] = (band.psf_fwhm_arcsec, "arcsec, FWHM of the effective PSF")
    header["SKYSIGMA"] = (band.sky_sigma_njy / njy, "noise of a pixel")
    header["MODEL"] = (emulator.model.card.fingerprint, "that drew the galaxies")
    header["SEED"] = (emulator.spec.seed, "of shapes and noise")
    ivar = np.full_like(image, (njy / band.sky_sigma_njy) ** 2)
    if variance is not None:
        ivar = np.float32(njy**2) / variance
    # A constant plane takes no room when compressed, and losslessly it stays what it is.
    weight = fits.CompImageHDU(ivar, wcs.to_header(), IVAR, compression_type="GZIP_2", quantize_level=0.0)
    sink = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(image / np.float32(njy), header), weight]).writeto(sink)
    return sink.getvalue()


def zero_point_of(band: EmulatedBand) -> float:
    """AB magnitude of one count, or of one nJy where its files are in nJy."""
    return math.log10(AB_ZERO_NJY) * 2.5 if band.zero_point is None else band.zero_point


def _psf(band: EmulatedBand, pixel_scale_arcsec: float) -> bytes:
    sink = io.BytesIO()
    fits.PrimaryHDU(sampled_psf(band, pixel_scale_arcsec)[0].numpy()).writeto(sink)
    return sink.getvalue()
