"""What a second stretch costs pictures that were stretched for display: real thumbnails sorted by eye.

The folder of PNG files is cut by galflow as a survey of ready-made images, and its pixels pass once through the stretch
that a run takes by default (linear, white at 255) and once through the asinh that it took before. Models, splits and
AUROC are those of ``benchmarks.labelled``: what is chosen is chosen on five splits and reported on the other five.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.labelled import BORING, CASES, COLUMNS, FOLDER, SPLITS, Labelled, judge, scores
from benchmarks.tables import Figures
from galflow.cutouts.cut import cut_tile, cutouts_fingerprint
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.stream import stretch_for
from galflow.photometry import Stretch
from galflow.spec.run import CutoutSpec
from galflow.spec.stretch import StretchSpec
from galflow.storage.store import Store
from galflow.surveys.reading.stamps_options import StampsOptions
from galflow.surveys.stamps import Stamps

EPOCHS = 40
MODELS = ("pca.PCA", "vae.VAE")
SEEN = {"linear, the default": StretchSpec(), "asinh, stretched twice": StretchSpec(kind="asinh")}


def cut_thumbnails(root: str) -> list[CutoutSet]:
    """The thumbnails as cutout sets in a store at ``root``."""
    options = {"root": str(FOLDER), "pattern": "*/*.png", "bands": ("i", "r", "g"), "pixel_scale_arcsec": 0.168}
    binned = {"bin": 3, "bin_mode": "mean", "folder_column": "label"}
    survey = Stamps("thumbnails", "1", StampsOptions.model_validate(options | binned))
    store, spec = Store.open(root), CutoutSpec(size=32, defects=False)
    receipts = [cut_tile(store, survey, tile, spec, cutouts_fingerprint(survey, tile, spec)) for tile in survey.tiles()]
    return [CutoutSet(store, receipt.product) for receipt in receipts]


def seen_through(sets: Sequence[CutoutSet], stretch: Stretch) -> Labelled:
    """The thumbnails as a model sees them, in the order of their labels and names."""
    flux = torch.from_numpy(np.concatenate([cutouts.read("flux") for cutouts in sets]))
    rows = [row for cutouts in sets for row in cutouts.rows(["label", "file_name"]).to_pylist()]
    order = sorted(range(len(rows)), key=lambda i: (rows[i]["label"], rows[i]["file_name"]))
    pixels = stretch.forward(flux, torch)
    boring = [i for i in order if rows[i]["label"] == BORING]
    return Labelled(pixels[boring], pixels[[i for i in order if rows[i]["label"] != BORING]])


def run() -> Iterator[Figures]:
    """PCA and VAE on all splits, in either stretch."""
    cases = [replace(case, epochs=EPOCHS) if case.epochs else case for case in CASES if case.model in MODELS]
    with tempfile.TemporaryDirectory() as root:
        sets = cut_thumbnails(root)
        for name, spec in SEEN.items():
            stretch = stretch_for(sets, spec)
            data = seen_through(sets, stretch)
            found = [scores(data, split, cases) for split in range(SPLITS)]
            judged = {score: judge([f[score] for f in found], data) for score in found[0]}
            rows: dict[str, tuple[float | str, ...]] = {
                s: (j.chosen_by, *j.reported, j.unseen) for s, j in judged.items()
            }
            yield Figures(f"AUROC of interesting against boring thumbnails, {name}: {stretch}", COLUMNS, rows)
