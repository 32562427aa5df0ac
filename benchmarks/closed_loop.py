"""Galaxies that never were, through galflow: a survey, a Flow-VAE learnt from it, an emulated survey, a run on it.

Two surveys of `synthetic` with one population: the first is learnt from, the second never. The emulated survey has the
second's places, magnitudes and sizes, and the telescope of both. All three are read by galflow's own run. Compared are
the model's negative ELBO on the emulated survey and on the second one, and fluxes and radii measured on the emulated
survey's cutouts with what was drawn into it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from scipy.stats import ks_2samp

import galflow
from benchmarks.tables import Finding, Findings
from flows.whole_run import emulate_here
from galflow.runs.plan_emulation import plan_emulation
from galflow.spec.emulation import EmulationSpec
from galflow.storage.store import Store

LEARNT, EMULATED = 3000, 2000
EPOCHS = 60
MODEL = "emulator"
SCALE, FWHM, BETA, SIGMA = 0.2, 0.7, 3.5, {"g": 10.0, "r": 12.0, "i": 15.0}
"""Of `synthetic`, as its options have them."""
NOISE_FREE = 100.0
"""Signal to noise from which a measured flux is to be right to a few percent."""


def run() -> Iterator[Findings]:
    """Learn, emulate, run again, compare."""
    with tempfile.TemporaryDirectory(prefix="galflow-bench-") as folder:
        yield measured(Path(folder))


def measured(root: Path) -> Findings:
    """The table, of products below ``root``."""
    learnt = galflow.run(_survey("learnt", 1, LEARNT, {"training": {"epochs": EPOCHS, "batch_size": 32}}), str(root))
    uri = learnt.models[MODEL]
    real = galflow.run(_survey("real", 2, EMULATED, {"trained": uri}), str(root)).catalog.to_pandas()
    objects = root / "objects.parquet"
    columns = {"object_id": "object_id", "ra_deg": "ra", "dec_deg": "dec"}
    columns |= {name: name for name in ("magnitude", "half_light_radius_arcsec")}
    pq.write_table(pa.table({name: real[source] for name, source in columns.items()}), objects)
    emulated, truth = _emulated(root, uri, objects)
    return Findings(
        f"{EMULATED:,} emulated galaxies, run through galflow again",
        (*_likelihoods(real, emulated), *_recovered(emulated.merge(truth, on="object_id"))),
    )


def _survey(name: str, seed: int, objects: int, model: dict[str, Any]) -> dict[str, Any]:
    options = {"tiles": 1, "objects_per_tile": objects, "tile_size": round(60 * objects**0.5), "overlap_pixels": 0}
    network = {"name": MODEL, "model": "flow_vae.FlowVAE", "options": {"oversample": 2}}
    return {
        "name": name, "cutouts": {"size": 32}, "models": [network | model], "output": {"report": False},
        "survey": {"kind": "synthetic", "name": name, "release": "dr1",
                   "options": options | {"seed": seed, "anomaly_fraction": 0.0, "magnitude_range": [19, 22.5]}},
    }  # fmt: skip


def _emulated(root: Path, uri: str, objects: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The catalogue of a run on the emulated survey, and what was drawn into it."""
    bands = {n: {"of": [n], "psf_fwhm_arcsec": FWHM, "moffat_beta": BETA, "sky_sigma_njy": s} for n, s in SIGMA.items()}
    spec = EmulationSpec.model_validate({
        "name": "emulated", "model": uri, "model_pixel_scale_arcsec": SCALE, "objects": {"path": str(objects)},
        "telescope": {"pixel_scale_arcsec": SCALE, "bands": bands}, "store": {"root": str(root)},
    })  # fmt: skip
    failures = emulate_here(spec)
    if failures:
        raise RuntimeError(f"not emulated: {failures}")
    store = Store.of(spec.store)
    plan = plan_emulation(spec, store)
    again = yaml.safe_load(store.get(plan.specification_key)) | {"measure": ["sersic"], "output": {"report": False}}
    tables = [pq.read_table(root / unit.product / "truth.parquet") for unit in plan.units]
    drawn = pa.concat_tables(tables).to_pandas()
    kept = [n for n in drawn if n == "object_id" or n.startswith("flux_") or n.endswith("_drawn_arcsec")]
    return galflow.run(again, str(root)).catalog.to_pandas(), drawn[kept].rename(
        columns=lambda n: n.replace("flux_", "drawn_flux_")
    )


def _likelihoods(real: pd.DataFrame, emulated: pd.DataFrame) -> Iterator[Finding]:
    column = f"{MODEL}_neg_elbo"
    found = ks_2samp(real[column].dropna(), emulated[column].dropna())
    yield Finding("negative ELBO, emulated against the sky: KS", float(found.statistic))
    yield Finding("  p", float(found.pvalue), low=0.01)
    yield Finding("  median, emulated over the sky", float(emulated[column].median() / real[column].median()))


def _recovered(both: pd.DataFrame) -> Iterator[Finding]:
    """Measured over drawn, of bright galaxies, and of all."""
    bright = both["drawn_flux_r_njy"] > NOISE_FREE * SIGMA["r"] * 3
    for name, rows in (("bright", both[bright]), ("all", both)):
        flux = (rows["sersic_flux_r"] / rows["drawn_flux_r_njy"]).replace([np.inf, -np.inf], np.nan).median()
        circular = rows["sersic_r50"] * rows["sersic_q"] ** 0.5
        radius = (circular / rows["half_light_radius_drawn_arcsec"]).median()
        yield Finding(f"flux in r, measured over drawn, median, {name}", float(flux), 0.95, 1.05)
        yield Finding(f"half-light radius, measured over drawn, median, {name}", float(radius), 0.95, 1.05)
