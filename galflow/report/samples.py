"""Draws from a trained model, in flux, as a picture, a FITS cube or a Zarr group.

What is written is flux in the model's own unit, never stretched pixels. This file refuses to write draws that are not
finite.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import zarr
from astropy.io import fits
from PIL import Image

from galflow.errors import ModelError, SpecError, StoreError
from galflow.report.pictures import Display, colour_picture, grid_picture
from galflow.training.trained_model import TrainedModel, load_uri

SMALLEST_PICTURE = 96
"""Cutouts in the picture are enlarged, whole pixels to whole pixels, to at least so many pixels on a side."""
_AT_A_TIME = 256
"""Draws at a time."""

FloatArray = npt.NDArray[np.float32]


def draw(model: TrainedModel, n: int, seed: int) -> FloatArray:
    """(n, band, y, x) float32 flux in the model's unit, drawn with ``seed``; ModelError if any is not finite."""
    generator = torch.Generator().manual_seed(seed)
    parts = []
    with torch.no_grad():
        for start in range(0, n, _AT_A_TIME):
            stretched = model.module.eval().sample(min(_AT_A_TIME, n - start), generator)
            parts.append(model.stretch.inverse(stretched.double(), torch).numpy().astype(np.float32))
    flux = np.concatenate(parts)
    bad = int(np.count_nonzero(~np.isfinite(flux).all(axis=(1, 2, 3))))
    if bad:
        raise ModelError(
            f"{bad} of {n} draws from {model.card.name} ({model.card.model}) are not finite; expected fluxes. "
            "Try another --seed, or train the model longer"
        )
    return flux


def write_samples(uri: str, n: int, output: Path, seed: int) -> str:
    """Draw ``n`` galaxies from the model at ``uri`` into ``output``, by its ending; what was drawn, in words.

    SpecError, before anything is drawn, if the ending is another or the folder does not exist; StoreError if the file
    cannot be written. A file that is there is replaced.
    """
    write = _WRITERS.get(output.suffix.lower())
    if write is None:
        raise SpecError(f"-o {output}: {output.suffix or 'no ending'!r} is not known; end it in {', '.join(_WRITERS)}")
    if not output.parent.is_dir():
        raise SpecError(f"-o {output}: there is no folder {output.parent}; make it, or name another")
    model = load_uri(uri)
    flux = draw(model, n, seed)
    try:
        write(output, flux, model, seed)
    except OSError as error:
        raise StoreError(
            f"cannot write {output}: {error.strerror or error}; check the folder's permissions and room"
        ) from error
    bands, side = ", ".join(model.card.bands), flux.shape[-1]
    return f"{n} galaxies drawn from {model.card.name} ({model.card.model}), {side} x {side} pixels in {bands}"


def _write_fits(output: Path, flux: FloatArray, model: TrainedModel, seed: int) -> None:
    """One cube (object, band, y, x); FITS counts its axes from the other end."""
    header = fits.Header(
        [
            ("BUNIT", model.card.unit, "flux unit"),
            ("BANDS", ",".join(model.card.bands), "along axis 3"),
            ("MODEL", model.card.model, "what drew them"),
            ("FINGERPR", model.card.fingerprint, "of the trained model"),
            ("SEED", seed, "of the draws"),
        ]
    )
    fits.PrimaryHDU(flux, header).writeto(output, overwrite=True)


def _write_zarr(output: Path, flux: FloatArray, model: TrainedModel, seed: int) -> None:
    """A group with one array, which xarray opens."""
    card = model.card
    about = {"bands": list(card.bands), "model": card.model, "fingerprint": card.fingerprint, "seed": seed}
    group = zarr.create_group(output, overwrite=True, attributes=about)
    group.create_array("flux", data=flux, dimension_names=("object", "band", "y", "x"), attributes={"units": card.unit})


def _write_png(output: Path, flux: FloatArray, model: TrainedModel, seed: int) -> None:
    samples_picture(flux, model).save(output)


def samples_picture(flux: FloatArray, model: TrainedModel) -> Image.Image:
    """A grid of pictures of draws (object, band, y, x).

    Each is white at its own brightest pixel, or as the pictures were that the model learnt from.
    """
    bands, white = model.card.bands, model.card.display_white
    if white is not None:
        pictures = [Display.as_given(bands, white, model.card.unit).picture(f) for f in flux]
    else:
        pictures = [colour_picture(f, model.stretch.sky_sigma, bands) for f in flux]
    times = -(-SMALLEST_PICTURE // pictures[0].shape[0])
    enlarged = [p.repeat(times, axis=0).repeat(times, axis=1) for p in pictures]
    return grid_picture(enlarged, gap=6)


_WRITERS: dict[str, Callable[[Path, FloatArray, TrainedModel, int], None]] = {
    ".png": _write_png,
    ".fits": _write_fits,
    ".zarr": _write_zarr,
}
