"""A store with a tiny Flow-VAE and a catalogue beside it, and the specification of a survey emulated from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from galflow.models.flow_vae import FlowVAE
from galflow.spec.store import StoreSpec
from galflow.storage.store import Store
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import ModelCard, TrainedModel

SCALE, SIGMA = 0.2, (10.0, 20.0)
OBJECTS = 40


def store_emulator(folder: Path) -> None:
    """A store with a Flow-VAE, of which only the flow's seed is drawn, and a catalogue beside it."""
    torch.manual_seed(0)
    module = FlowVAE(channels=2, size=16, latent=4, width=8, oversample=2, flow_width=8).eval()
    card = ModelCard(
        name="emulator", model="flow_vae.FlowVAE", model_version=FlowVAE.version, source=FlowVAE.source,
        arguments={"channels": 2, "size": 16, "latent": 4, "width": 8, "oversample": 2, "flow_width": 8},
        cutouts={"size": 16}, bands=("g", "r"), unit="nJy",
        stretch=StretchCard(kind="asinh", softening_sigma=3.0, white_sigma=1000.0, sky_sigma=SIGMA),
        bin_width=None, training={}, curves=(), metrics={}, scores=dict(FlowVAE.scores), main_score="chi2",
        abilities={}, fingerprint="0123456789abcdef", code_version="0",
    )  # fmt: skip
    TrainedModel(card, module, {}).save(Store.of(StoreSpec(root=str(folder))), "models/emulator/0123456789abcdef")
    draw = np.random.default_rng(1)
    table = {
        "object_id": np.arange(OBJECTS) - 3,  # also negative ids
        "ra_deg": 150.0 + draw.uniform(0, 0.012, OBJECTS), "dec_deg": 2.0 + draw.uniform(0, 0.012, OBJECTS),
        "mag": draw.uniform(19, 22, OBJECTS), "half_light_radius_arcsec": draw.uniform(0.3, 1, OBJECTS),
    }  # fmt: skip
    pq.write_table(pa.table(table), folder / "objects.parquet")


def document(root: Path) -> dict[str, Any]:
    """A specification over what ``store_emulator`` left at ``root``."""
    bands = {
        "g": {"of": ["g"], "psf_fwhm_arcsec": 0.7, "sky_sigma_njy": 10.0},
        "wide": {"of": ["g", "r"], "psf_fwhm_arcsec": 0.6, "moffat_beta": 3.0, "sky_sigma_njy": 5.0, "zero_point": 27},
    }
    return {
        "name": "made",
        "model": f"file://{root}/models/emulator/0123456789abcdef",
        "model_pixel_scale_arcsec": SCALE,
        "objects": {"path": str(root / "objects.parquet"), "columns": {"magnitude": "mag"}},
        "telescope": {"pixel_scale_arcsec": SCALE, "bands": bands},
        "tile_size": 128,
        "store": {"root": str(root)},
    }
