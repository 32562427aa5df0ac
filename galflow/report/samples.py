"""Draws from a trained model, in flux, as a picture, a FITS cube or a Zarr group."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import zarr
from astropy.io import fits

from galflow.errors import SpecError
from galflow.report.pictures import colour_picture, grid_picture
from galflow.training.trained_model import TrainedModel, load_uri

SUFFIXES = (".png", ".fits", ".zarr")


def draw(model: TrainedModel, n: int, seed: int) -> np.ndarray:
    """(n, band, y, x) float32 flux in the model's unit, drawn with ``seed``."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        stretched = model.module.eval().sample(n, generator)
    return model.stretch.inverse(stretched, torch).numpy().astype(np.float32)


def write_samples(uri: str, n: int, output: Path, seed: int) -> None:
    """Draw ``n`` galaxies from the model at ``uri`` into ``output``, by its ending; SpecError if it is another."""
    if output.suffix not in SUFFIXES:
        raise SpecError(f"-o {output}: {output.suffix or 'no ending'!r} is not known; end it in {', '.join(SUFFIXES)}")
    model = load_uri(uri)
    flux = draw(model, n, seed)
    if output.suffix == ".fits":
        header = fits.Header(
            [("BUNIT", model.card.unit, "flux unit"), ("BANDS", ",".join(model.card.bands)), ("SEED", seed)]
        )
        fits.PrimaryHDU(flux, header).writeto(output, overwrite=True)
    elif output.suffix == ".zarr":
        group = zarr.create_group(output, overwrite=True, attributes={"bands": list(model.card.bands), "seed": seed})
        group.create_array(
            "flux", data=flux, dimension_names=("object", "band", "y", "x"), attributes={"units": model.card.unit}
        )
    else:
        grid_picture([colour_picture(f, model.stretch.sky_sigma, model.card.bands) for f in flux]).save(output)
