"""The merger test: which percentage of images of each stage of a merger models of isolated galaxies call inconsistent.

A folder holds images in sub-folders: ``isolated`` is the survey that the models learn, every other one a comparison
sample; ``pre``, ``merger`` and ``post`` are the stages, and together "all". One call of ``galflow.run`` does the rest,
and the percentages are those that the run published: images above the 95% quantile of the held-out isolated ones
(Margalef-Bentabol+20). The folder is drawn (benchmarks.merger_galaxies), or a user's own takes its place:

    GALFLOW_MERGERS=FOLDER python -m benchmarks mergers

with a file ``stamps.json`` beside its sub-folders, the options of galflow's survey ``stamps`` for its images but
``root`` and ``pattern``: ``{"bands": ["r"], "pixel_scale_arcsec": 0.2, "unit": "nJy"}``.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

import galflow
from benchmarks import merger_galaxies as drawn
from galflow.compare.samples import INCONSISTENT_LEVEL
from galflow.errors import SpecError
from galflow.report.findings import REAL
from galflow.scores.fractions import Fraction

OWN = "GALFLOW_MERGERS"
"""Environment variable: a user's folder."""
SKIRT = Path(os.environ.get("GALFLOW_DATA", Path(__file__).parents[2] / "shared" / "data")) / (
    "realsim_skirt_merger/photo_r_CNN_G2G3_e-orbit_1_186_i0_total.fits"
)
OPTIONS = "stamps.json"
SURVEY = "isolated"
STAGES = ("pre", "merger", "post")
ALL = "all stages"
SEED = 1
ISOLATED, EACH, VIEWS = 3000, 400, 100
"""Isolated galaxies; systems, each seen once in each stage, and isolated ones to check with; views of the one SKIRT
merger."""
MODELS: tuple[dict[str, Any], ...] = (
    {
        "name": "wgan", "model": "wgan.WGAN", "training": {"epochs": 50},
        "options": {"width": 16, "learning_rate": 5e-4, "penalty_share": 0.25},
    },
    {"name": "kmeans", "model": "kmeans.KMeans"},
    {"name": "pca", "model": "pca.PCA"},
    {"name": "vae", "model": "vae.VAE"},
    {"name": "lof", "model": "outliers.LocalOutlierFactor"},
    {"name": "features", "model": "outliers.Mahalanobis"},
    {
        "name": "pixelcnn", "model": "pixelcnn.PixelCNN", "options": {"width": 16, "layers": 4},
        "training": {"epochs": 8},
    },
)  # fmt: skip
LECTURE = {
    "lecture: WGAN": {ALL: 46, "pre": 86, "post": 45},
    "lecture: k-means": {ALL: 8, "pre": 74, "post": 9},
}
"""Percentages (SCIENCE.md): other galaxies, another instrument."""


@dataclass(frozen=True)
class Inconsistent:
    """Score -> sample -> fraction of its images that is inconsistent, as a run published it."""

    title: str
    found: Mapping[str, Mapping[str, Fraction]]
    beside: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Percentages of others: name -> sample -> per cent."""

    @property
    def samples(self) -> list[str]:
        """Of any score, in their order."""
        return list(dict.fromkeys(name for row in self.found.values() for name in row))

    def text(self) -> str:
        """A row a score: per cent and its 95% interval; those of others last."""
        samples = self.samples
        cells = {score: [_percent(row.get(s)) for s in samples] for score, row in self.found.items()}
        others = self.beside.items()
        cells |= {name: [f"{row[s]:3d}{'':10}" if s in row else "" for s in samples] for name, row in others}
        heads = [f"{s} ({max(row[s].n for row in self.found.values() if s in row)})" for s in samples]
        spans = [max(len(head), 13) for head in heads]
        width = max(map(len, cells))
        lines = [self.title, "  ".join([" " * (width + 2), *(f"{h:>{n}}" for h, n in zip(heads, spans, strict=True))])]
        lines += [
            "  ".join([f"  {name:{width}}", *(f"{cell:>{n}}" for cell, n in zip(row, spans, strict=True))])
            for name, row in cells.items()
        ]
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Plain values: fractions with their intervals, and the others' percentages."""
        rows = {score: {s: f.to_json() for s, f in row.items()} for score, row in self.found.items()}
        return {"title": self.title, "rows": rows, "percent_of_others": self.beside}


def _percent(fraction: Fraction | None) -> str:
    if fraction is None:
        return "-"
    return f"{100 * fraction.value:3.0f} [{100 * fraction.low:3.0f},{100 * fraction.high:4.0f}]"


def published(
    inconsistent: Mapping[str, Mapping[str, Mapping[str, Any]]],
    title: str,
    beside: Mapping[str, Mapping[str, int]] | None = None,
) -> Inconsistent:
    """The table of what a run's summary says under ``inconsistent``: sample -> score -> fraction."""
    order = sorted(inconsistent, key=lambda name: (*STAGES, *inconsistent).index(name))
    scores = dict.fromkeys(score for of_sample in inconsistent.values() for score in of_sample)
    found: dict[str, dict[str, Fraction]] = {}
    for score in scores:
        row = {s: Fraction(**inconsistent[s][score]) for s in order if score in inconsistent[s]}
        stages = [row[s] for s in STAGES if s in row]
        whole = (
            {ALL: Fraction.of(sum(round(f.value * f.n) for f in stages), sum(f.n for f in stages))} if stages else {}
        )
        found[score] = whole | row
    return Inconsistent(title, found, beside or {})


def draw_folder(folder: Path, seed: int = SEED, isolated: int = ISOLATED, each: int = EACH, views: int = VIEWS) -> None:
    """Images (SIDE, SIDE) float32 in nJy as FITS files; ``skirt`` only where its image is there."""
    options = {"bands": ["r"], "pixel_scale_arcsec": drawn.SCALE_ARCSEC, "unit": "nJy"}
    (folder / OPTIONS).write_text(json.dumps(options | {"psf_fwhm_arcsec": drawn.PSF_FWHM_ARCSEC}))
    systems = [drawn.System.draw(np.random.default_rng([seed, 0, i])) for i in range(each)]
    usual = drawn.of_usual_size
    kinds: dict[str, tuple[int, Callable[[int, drawn.Draw], drawn.Image]]] = {
        SURVEY: (isolated, lambda i, rng: drawn.isolated(rng)),
        "control": (each, lambda i, rng: drawn.isolated(rng)),
        "pre": (each, lambda i, rng: drawn.before(systems[i], rng)),
        "merger": (each, lambda i, rng: usual(drawn.coalescing, systems[i], rng)),
        "post": (each, lambda i, rng: usual(drawn.after, systems[i], rng)),
    }
    if SKIRT.is_file():
        simulation = partial(drawn.observed_simulation, drawn.skirt_light(SKIRT))
        kinds["skirt"] = (views, lambda i, rng: simulation(rng))
    for number, (kind, (count, light)) in enumerate(kinds.items()):
        (folder / kind).mkdir()
        for i in range(count):
            rng = np.random.default_rng([seed, 1 + number, i])
            fits.writeto(folder / kind / f"{kind}-{i:05d}.fits", drawn.observed(light(i, rng), rng))


def specification(folder: Path, models: tuple[dict[str, Any], ...] = MODELS) -> dict[str, Any]:
    """The run over a folder of images; SpecError if it is no such folder."""
    kinds = sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []
    if not (folder / OPTIONS).is_file() or SURVEY not in kinds or not set(kinds) & set(STAGES):
        raise SpecError(
            f"{folder} holds {', '.join(kinds) or 'no sub-folder'}; expected {SURVEY}, at least one of "
            f"{', '.join(STAGES)}, and beside them {OPTIONS} with the options of survey stamps for their images, such "
            'as {"bands": ["r"], "pixel_scale_arcsec": 0.2, "unit": "nJy"}'
        )
    options = json.loads((folder / OPTIONS).read_text())

    def stamps(kind: str) -> dict[str, Any]:
        own = {"root": str(folder.resolve()), "pattern": f"{kind}/**"}
        return {"kind": "stamps", "name": kind, "options": options | own}

    return {
        "name": "mergers",
        "seed": SEED,
        "survey": stamps(SURVEY),
        "cutouts": {"size": 32},
        "models": list(models),
        "training": {"epochs": 25, "reference_fraction": 0.3},
        "comparison": {
            "bootstraps": 100,
            "samples": [{"name": kind, "survey": stamps(kind)} for kind in kinds if kind != SURVEY],
        },
        "output": {"report": False},
    }


@contextmanager
def images() -> Iterator[Path]:
    """The user's folder, or one that is drawn and gone afterwards."""
    own = os.environ.get(OWN)
    if own:
        yield Path(own)
        return
    with tempfile.TemporaryDirectory(prefix="galflow-mergers-") as name:
        draw_folder(Path(name))
        yield Path(name)


def brightness_and_size(folder: Path) -> dict[str, dict[str, Any]]:
    """Sample -> flux and half-light radius in the drawn images' cutouts -> fraction above the isolated ones' quantile.

    What the two alone would call inconsistent; the isolated galaxies are their own reference.
    """
    half = 16
    middle = slice(drawn.SIDE // 2 - half, drawn.SIDE // 2 + half)
    measured = {}
    for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
        pictures = [fits.getdata(file).astype(np.float64) for file in sorted(kind.glob("*.fits"))]
        flux = np.array([picture[middle, middle].sum() for picture in pictures])
        measured[kind.name] = {
            "flux": flux,
            "half-light radius": np.array(list(map(drawn.half_light_radius, pictures))),
        }
    limit = {name: np.quantile(values, 1 - INCONSISTENT_LEVEL) for name, values in measured[SURVEY].items()}
    return {
        kind: {name: Fraction.of(int((v > limit[name]).sum()), len(v)).to_json() for name, v in of_kind.items()}
        for kind, of_kind in measured.items()
        if kind != SURVEY
    }


def run() -> Iterator[Inconsistent]:
    """The percentages by all scores; of drawn images also those by brightness and size alone."""
    with images() as folder, tempfile.TemporaryDirectory() as root:
        found = galflow.run(specification(folder), root).summary
        for failure in found["failures"]:
            print(f"failed: {failure}")
        level = found["inconsistent_level"]
        told = {name: of_sample for name, of_sample in found["inconsistent"].items() if name != REAL}
        title = f"Per cent of images above the {1 - level:.0%} quantile of held-out isolated galaxies"
        yield published(told, title, LECTURE)
        if OWN not in os.environ:
            yield published(brightness_and_size(folder), "The same by brightness and size alone")
