"""A run's triage: learnt from held-out objects, copies of them with anomalies, stars and blends; judged on one half.

The half that judges had no part in the fit that is judged; what is published is then fitted to both halves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from galflow.cutouts.batches import PIXELS_ALONE, CutoutRows
from galflow.cutouts.flags import Flag, has_flag, pixel_flags
from galflow.cutouts.painted import HeldOut, painted_copies
from galflow.cutouts.painted_sources import BLEND, STAR, painted_sources
from galflow.cutouts.pixel_defects import PixelDefects, is_coarse
from galflow.errors import DataError
from galflow.scores.evidence import Sigmas
from galflow.scores.rule import placed
from galflow.scores.triage import CLASSES, GALAXY, KIND_CLASS, PRIORS, Triage
from galflow.scores.triage_features import feature_names, measured, triage_stretch
from galflow.surveys.drawing.anomalies import ALL_KINDS
from galflow.surveys.reading.sky import Sky

FloatArray = npt.NDArray[np.float64]
_COPIES = 120
_AT_ONCE = 256
_PAINT, _HALVES = 21, 22
"""Added to the seed, so that nothing is what chose the rule."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Objects whose kind is known."""

    features: FloatArray
    """(n, F)"""
    flags: npt.NDArray[np.int64]
    kind: npt.NDArray[np.object_]
    half: npt.NDArray[np.bool_]
    """(n,) whether they judge."""

    def chosen(self, which: npt.NDArray[np.bool_]) -> Examples:
        """Some of them, (n,) bool."""
        return Examples(self.features[which], self.flags[which], self.kind[which], self.half[which])


def learn_triage(
    objects: HeldOut, known: Sigmas, sigmas: Callable[[Sequence[CutoutRows]], Sigmas], seed: int
) -> dict[str, Any]:
    """The triage as JSON: the fitted model, and how well one half's fit did on the other half.

    ``known``: (n,) sigmas of the held-out objects by score; ``sigmas`` gives those of other rows.
    """
    half = np.random.default_rng([seed, _HALVES]).permutation(len(objects)) % 2 == 0
    given = [_examples(objects, objects.tiles, known, _kinds_of(objects), half)]
    # A single band can lie beside no other one.
    kinds = [kind for kind in ALL_KINDS if kind != "shifted_band" or objects.tiles[0].flux.shape[1] > 1]
    stars = bool(np.isfinite(objects.stellar_fwhm_pixels).any())
    for painted in (
        painted_copies(objects, _COPIES, seed + _PAINT, kinds),
        painted_sources(objects, half, _COPIES, seed + _PAINT, stars=stars),
    ):
        found = sigmas(painted.tiles)
        mine = {name: found[name] for name in known}
        given.append(_examples(objects, painted.tiles, mine, painted.kind, half[painted.original]))
    every = Examples(*(np.concatenate(parts) for parts in zip(*map(_fields, given), strict=True)))
    bands = objects.tiles[0].flux.shape[1]
    names = (*feature_names(bands), *(f"{name}_sigma" for name in known))
    fitted = every.chosen(~every.half)
    judged = judge(Triage.fit(names, fitted.features, fitted.kind), every.chosen(every.half))
    return {"model": Triage.fit(names, every.features, every.kind).to_json(), "judged": judged}


def _fields(examples: Examples) -> tuple[np.ndarray, ...]:
    return examples.features, examples.flags, examples.kind, examples.half


def _kinds_of(objects: HeldOut) -> npt.NDArray[np.object_]:
    """Kinds of the held-out objects: galaxies, but for those that are stars, or that a neighbour outshines."""
    kinds, flags = np.full(len(objects), GALAXY, dtype=object), np.concatenate(objects.flags)
    kinds[has_flag(flags, Flag.STAR)] = STAR
    kinds[has_flag(flags, Flag.BRIGHT_NEIGHBOUR)] = BLEND
    return kinds


def _examples(
    objects: HeldOut,
    tiles: Sequence[CutoutRows],
    sigmas: Sigmas,
    kind: npt.NDArray[np.object_],
    half: npt.NDArray[np.bool_],
) -> Examples:
    """Of held-out objects, or of copies of them, tile by tile."""
    found, flags = [], []
    for rows, sky, fwhm in zip(tiles, objects.sky_sigma, objects.fwhm_pixels, strict=True):
        stretch = triage_stretch(sky)
        if stretch is None:
            raise DataError(f"a triage cannot be learnt: a band's sky sigma is {sky!r}; expected positive numbers")
        found.append(np.zeros((0, len(feature_names(rows.flux.shape[1]))), np.float32))
        for start in range(0, len(rows.flux), _AT_ONCE):
            part = CutoutRows(rows.flux[start : start + _AT_ONCE], rows.ivar[start : start + _AT_ONCE], None, {})
            found.append(measured(part.batch(stretch, PIXELS_ALONE), stretch, fwhm))
        flags.append(_pixel_flags(rows, sky, fwhm))
    own = np.concatenate(found).astype(np.float64)
    features = np.concatenate([own, *(sigmas[name][:, None] for name in sigmas)], axis=1)
    return Examples(features, np.concatenate(flags), kind, half)


def _pixel_flags(rows: CutoutRows, sky: np.ndarray, fwhm: float) -> npt.NDArray[np.int64]:
    """What the pixels of copies show by themselves, as it is looked for when a tile is cut."""
    if not len(rows.flux):
        return np.zeros(0, np.int64)
    side = rows.flux.shape[-1]
    corner = rows.flux[:, :, : max(1, side // 6)]
    levels = np.nanmedian(corner, axis=(0, 2, 3))
    coarse = [is_coarse(rows.flux[:, band].reshape(-1, side)) for band in range(len(sky))]
    defects = PixelDefects(
        [Sky(float(level), float(s)) for level, s in zip(levels, sky, strict=True)], [fwhm] * len(sky), coarse
    )
    nothing = np.zeros(rows.flux.shape, np.uint16)
    return pixel_flags(rows.flux, rows.ivar, nothing, 0.0) | defects.flags(rows.flux, rows.ivar > 0)


def judge(triage: Triage, examples: Examples) -> dict[str, Any]:
    """How well a triage tells examples apart that it was not fitted to.

    ``confusion``: class -> most probable class -> examples. ``log_loss``: mean -log probability of the class in nats,
    classes weighted by the assumed priors, and beside it that of knowing the priors alone. ``artefact_auroc``: how
    often an artefact has a higher artefact_p than a galaxy, of all artefacts and kind by kind.
    """
    found = triage.probabilities(examples.features, examples.flags)
    truth = np.array([CLASSES.index(KIND_CLASS[str(kind)]) for kind in examples.kind])
    most = found.argmax(axis=1)
    there = [number for number in range(len(CLASSES)) if (truth == number).any()]
    share = np.array([PRIORS[CLASSES[number]] for number in there])
    share /= share.sum()
    losses = [float(-np.log(found[truth == n, n].clip(1e-12)).mean()) for n in there]
    artefact, galaxy = found[:, 0], truth == CLASSES.index(GALAXY)
    kinds = sorted({str(k) for k in examples.kind if KIND_CLASS[str(k)] == "artefact"})
    places = {kind: float(placed(artefact[galaxy], artefact[examples.kind == kind]).mean()) for kind in kinds}
    return {
        "examples": len(truth),
        "confusion": {
            CLASSES[n]: {CLASSES[m]: int(((truth == n) & (most == m)).sum()) for m in range(len(CLASSES))}
            for n in there
        },
        "log_loss": float(share @ losses),
        "log_loss_of_priors": float(-(share * np.log(share)).sum()),
        "artefact_auroc": float(np.mean(list(places.values()))) if places else None,
        "artefact_auroc_by_kind": places,
    }
