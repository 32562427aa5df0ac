"""How galflow reads an emulated survey again: a specification that runs as it is."""

from __future__ import annotations

from typing import Any

import yaml

from galflow.emulation.source import GalaxySource
from galflow.emulation.tile import IVAR, PSF_FILE, TRUTH, zero_point_of

SPECIFICATION = "galflow.yaml"


def own_specification(emulator: GalaxySource, folder_uri: str) -> dict[str, Any]:
    """A run of the survey below ``folder_uri`` by the model that it was drawn from, as plain values.

    The model is left out where the telescope's pixels, or its bands, are not those that it learnt from.
    """
    spec, card = emulator.spec, emulator.model.card
    bands = list(spec.telescope.bands)
    options: dict[str, Any] = {
        "root": folder_uri,
        "bands": {name: f"{{tile}}/{name}.fits" for name in bands},
        "zero_point": {name: zero_point_of(band) for name, band in spec.telescope.bands.items()},
        "weight": {"pattern": {name: f"{{tile}}/{name}.fits" for name in bands}, "kind": "ivar", "extension": IVAR},
        "psf": {"pattern": {name: "{tile}/" + PSF_FILE.format(band=name) for name in bands}},
        "catalog": {"path": f"{{tile}}/{TRUTH}", "columns": {"ra_deg": "ra", "dec_deg": "dec"}},
        "background": "none",
    }
    same = spec.telescope.pixel_scale_arcsec == spec.model_pixel_scale_arcsec
    same &= tuple(bands) == card.bands and all(spec.telescope.bands[name].of == (name,) for name in bands)
    model = {"name": card.name, "model": card.model, "trained": spec.model}
    return {
        "name": f"{spec.name}-again",
        "survey": {"kind": "fits_tiles", "name": spec.name, "release": "emulated", "options": options},
        "cutouts": {"size": card.arguments["size"]},
        "models": [model if same else {"name": "pca", "model": "pca.PCA"}],
    }


def as_yaml(document: dict[str, Any], about: str) -> bytes:
    """The specification as a file, with a line of what it is on top."""
    return (f"# {about}\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=True)).encode("utf-8")
