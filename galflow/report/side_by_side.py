"""Galaxies of the sky and of every compared sample beside each other: pixels read once, drawn in one stretch.

Which ones: galflow.report.extremes. This file draws nothing into a page and nothing into a figure; it gives pictures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from galflow.report.cards import Cutout, known_flux, make_display, read_cutouts, reconstructed
from galflow.report.compared_run import SKY, ComparedRun
from galflow.report.extremes import ComparedGalaxy, PickedGalaxies, pick_galaxies
from galflow.report.pictures import LARGEST_SIDE, Display, Pixels
from galflow.report.residuals import strongest_residual

PICTURE_BYTES = 4_000_000
"""At most about so many bytes of pictures of compared galaxies in one report."""
MOST_GALAXIES = 8
"""Random galaxies of each side; half as many are the least probable ones, and the most probable ones."""


@dataclass(frozen=True, eq=False)
class SideOfPictures:
    """The galaxies of one side, with their pixels."""

    picked: PickedGalaxies
    cutouts: Mapping[ComparedGalaxy, Cutout]

    @property
    def name(self) -> str:
        """The sky's, or the sample's."""
        return self.picked.side


@dataclass(frozen=True, eq=False)
class Residual:
    """One galaxy, what a model makes of it, and the difference."""

    galaxy: ComparedGalaxy
    picture: Pixels
    reconstruction: Pixels
    residual: npt.NDArray[np.float64]
    """(y, x) in sky sigmas of the band in which it is largest."""


@dataclass(frozen=True, eq=False)
class SideBySide:
    """All sides, and the one display in which they are drawn."""

    run: ComparedRun
    sides: tuple[SideOfPictures, ...]
    display: Display

    @property
    def columns(self) -> list[str]:
        """Likelihoods and ratios by which extremes are shown."""
        return self.run.shown_columns

    @property
    def reconstructing(self) -> list[str]:
        """Models whose reconstructions are shown."""
        return self.run.reconstructing

    def picture(self, side: SideOfPictures, galaxy: ComparedGalaxy) -> Pixels:
        """(y, x, 3) of one of a side's galaxies."""
        return self.display.picture(known_flux(side.cutouts[galaxy]))

    def residuals(self, side: SideOfPictures, model: str, count: int) -> list[Residual]:
        """Of the first ``count`` random galaxies of a side; those that the model cannot be told enough of left out."""
        trained = self.run.models[model]
        galaxies = side.picked.random[:count]
        cutouts = [side.cutouts[galaxy] for galaxy in galaxies]
        found = []
        for galaxy, cutout, flux in zip(galaxies, cutouts, reconstructed(trained, cutouts), strict=True):
            if flux is None:
                continue
            known = known_flux(cutout, trained.card.neighbours)
            sigma = [own or run for own, run in zip(cutout.sky_sigma, self.display.sigma, strict=True)]
            pictures = (self.picture(side, galaxy), self.display.picture(flux))
            found.append(Residual(galaxy, *pictures, strongest_residual(known, flux, sigma)))
        return found


def side_by_side(run: ComparedRun, count: int | None = None) -> SideBySide:
    """``count`` random galaxies of each side, half as many extremes; None: as many as a report has room for."""
    columns = run.shown_columns
    shown = _room(run, len(columns)) if count is None else count
    sides = []
    for side in run.sides:
        picked = pick_galaxies(run.store, side, columns, count=shown, extremes=max(1, shown // 2), seed=run.spec.seed)
        sides.append(SideOfPictures(picked, _read(run, picked.every)))
    sky = next(side for side in sides if side.name == SKY)
    display = make_display(run.models, [sky.cutouts[galaxy] for galaxy in sky.picked.random])
    return SideBySide(run, tuple(sides), display)


def _read(run: ComparedRun, galaxies: Sequence[ComparedGalaxy]) -> dict[ComparedGalaxy, Cutout]:
    products = {galaxy.tile: galaxy.cutout for galaxy in galaxies}
    return dict(zip(galaxies, read_cutouts(run.store, products, galaxies, run.models), strict=True))


def _room(run: ComparedRun, columns: int) -> int:
    """How many random galaxies of each side get pictures, from the sizes of incompressible ones in base64."""
    size, bands = run.spec.cutouts.size, len(next(iter(run.models.values())).card.bands)
    picture = (size // -(-size // LARGEST_SIDE)) ** 2 * 4 / 3 * (3 if bands > 1 else 1)
    models = len(run.reconstructing)
    # Of each galaxy: itself; as many extremes a column; half of them once more a model, with two pictures that
    # compress to about half.
    each = picture * len(run.sides) * (1 + columns + models)
    return int(np.clip(PICTURE_BYTES // each, 2, MOST_GALAXIES))
