"""An object as the report shows it: its picture, each model's reconstruction and residual, and what is known of it.

Real and reconstructed pixels go through one ``Display``; a reconstruction is taken back from the stretch to flux
first. Only the chunks that hold shown rows are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from galflow.cutouts.batches import BatchFields, CutoutRows, ObjectReader, join_batches, missing_inputs
from galflow.cutouts.cutout_set import CutoutSet
from galflow.cutouts.flags import Flag
from galflow.cutouts.neighbours import without_neighbours
from galflow.errors import DataError
from galflow.models.base import Reconstructs
from galflow.photometry import AsinhStretch
from galflow.report.flag_words import flag_words
from galflow.report.objects import Shown
from galflow.report.orientation import AS_STORED, Orientation, orientations
from galflow.report.pictures import (
    LARGEST_SIDE,
    LARGEST_WHITE_SIGMA,
    SOFTENING_SIGMA,
    Display,
    brightness_sigma,
    data_uri,
    drawn_png,
)
from galflow.report.residuals import residual_png, strongest_residual
from galflow.spec.neighbours import Neighbours
from galflow.storage.store import Store
from galflow.training.trained_model import TrainedModel

PICTURE_BYTES = 3_800_000
"""At most about so many bytes of pictures in one report."""
_BATCH_OBJECTS = 64


class Placed(Protocol):
    """A row of a tile's cutout set."""

    @property
    def tile(self) -> str:
        """The tile's name."""

    @property
    def row(self) -> int:
        """From 0."""


@dataclass(frozen=True, eq=False)
class Cutout:
    """One shown object: its pixels, and what models want to know beside them."""

    stored: CutoutRows
    """The one row."""
    sky_sigma: tuple[float | None, ...]
    """Of its tile, per band."""
    x_pixel: float | None
    y_pixel: float | None
    orientation: Orientation = AS_STORED

    @property
    def flux(self) -> np.ndarray:
        """(band, y, x) float32, NaN where missing."""
        return self.stored.flux[0]

    @property
    def ivar(self) -> np.ndarray:
        """(band, y, x); 0 where missing."""
        return self.stored.ivar[0]


@dataclass(frozen=True)
class Explained:
    """One model's idea of an object, as data URIs."""

    model: str
    reconstruction: str
    residual: str
    residual_rms: str
    """In sky sigmas, over all observed pixels and bands."""
    unexplained: float
    """Residual power over the object's own, in sky sigmas: 0 where it is the object, 1 where blank sky is as near."""


@dataclass(frozen=True)
class Card:
    """All that the template says about one object, as text and data URIs."""

    title: str
    object_id: str
    """Its name in the user's own catalogue, or its id."""
    row_id: str
    """Its id."""
    place: str
    position: str
    sigma: str
    p: str
    q: str
    flags: list[str]
    triage: str
    """What it most probably is, or ""."""
    sigmas: list[tuple[str, str]]
    """All scores and their sigmas, the largest first; those that are missing last."""
    kind: str
    """What the picture is of: "real", or "planted: ring"."""
    picture: str
    explained: list[Explained]


def objects_pictured(bands: int, side: int, reconstructing: int) -> int:
    """How many objects fit into ``PICTURE_BYTES``, from the sizes of incompressible pictures in base64."""
    shown = side // -(-side // LARGEST_SIDE)
    colours = 3 if bands > 1 else 1
    # The real one is there twice (contact sheet and card); a reconstruction is smooth and compresses to about half; a
    # residual has one byte a pixel.
    each = shown**2 * 4 / 3 * (2 * colours + reconstructing * (0.5 * colours + 1)) + 400 * (2 + 2 * reconstructing)
    return max(2, int(PICTURE_BYTES / each))


def read_cutouts(
    store: Store, products: Mapping[str, str], rows: Sequence[Placed], models: Mapping[str, TrainedModel]
) -> list[Cutout]:
    """The cutouts of these rows, in their order, with what their tiles have of what ``models`` want.

    ``products`` maps a tile's name to its cutout set.
    """
    found: dict[int, Cutout] = {}
    for tile in sorted({row.tile for row in rows}):
        if tile not in products:
            raise DataError(
                f"the catalogue has objects of tile {tile!r}, but no receipt of its cutouts was given to the report; "
                "give the receipts of all tiles in the catalogue"
            )
        wanted = [i for i, row in enumerate(rows) if row.tile == tile]
        cutouts = CutoutSet(store, products[tile])
        possible = [model.contents for model in models.values() if missing_inputs(cutouts, model.contents) is None]
        found |= _read_tile(ObjectReader.of(cutouts, BatchFields().joined(possible)), {i: rows[i].row for i in wanted})
    return [found[i] for i in range(len(rows))]


def _read_tile(reader: ObjectReader, wanted: Mapping[int, int]) -> dict[int, Cutout]:
    """Place in the list -> cutout, for places and their row numbers in this tile."""
    cutouts = reader.cutouts
    sigma = tuple(s or None for s in cutouts.attributes["sky_sigma"])
    pixel = {name: cutouts.read(name) if cutouts.has(name) else None for name in ("x_pixel", "y_pixel")}
    places = [np.full(len(wanted), np.nan) if p is None else p[list(wanted.values())] for p in pixel.values()]
    turned = dict(zip(wanted, orientations(cutouts.attributes, *places), strict=True))
    found: dict[int, Cutout] = {}
    for chunk in cutouts.chunks():
        here = {i: row for i, row in wanted.items() if chunk.start <= row < chunk.stop}
        if not here:
            continue
        objects = reader.read(chunk)
        for i, row in here.items():
            x, y = (None if p is None or not np.isfinite(p[row]) else float(p[row]) for p in pixel.values())
            found[i] = Cutout(objects.row(row - chunk.start), sigma, x, y, turned[i])
    return found


def make_display(models: Mapping[str, TrainedModel], normal: Sequence[Cutout]) -> Display:
    """The display of a report: softened as the models' stretch, white where 95% of the normal objects' peaks lie.

    Pictures that were stretched for display already are shown as they are.
    """
    first = next(iter(models.values()))
    stretch = first.stretch
    bands, unit = tuple(first.card.bands), first.card.unit
    if first.card.display_white is not None:
        return Display.as_given(bands, first.card.display_white, unit)
    if isinstance(stretch, AsinhStretch):
        softening, most = stretch.softening_sigma, stretch.white_sigma
    else:  # of flux all the same: what models see linearly, eyes do not
        softening, most = SOFTENING_SIGMA, LARGEST_WHITE_SIGMA
    display = Display(bands, stretch.sky_sigma, unit, softening, most)
    peaks = brightness_sigma(np.stack([known_flux(c) for c in normal]), display) if normal else np.zeros(0)
    peaks = peaks[np.isfinite(peaks)]
    white = float(np.quantile(peaks, 0.95)) if len(peaks) else most
    white = float(f"{np.clip(white, 20 * softening, most):.2g}")
    return Display(bands, stretch.sky_sigma, unit, softening, white)


def make_cards(
    rows: Sequence[Shown],
    cutouts: Sequence[Cutout],
    models: Mapping[str, TrainedModel],
    display: Display,
    primary: str,
    titles: Sequence[str],
) -> list[Card]:
    """A card for each row; ``primary`` is the score whose sigma, p and q it states."""
    flux = {name: reconstructed(model, cutouts) for name, model in models.items()}
    cards = []
    for i, (row, cutout) in enumerate(zip(rows, cutouts, strict=True)):
        explained = [
            _explain(name, cutout, known_flux(cutout, models[name].card.neighbours), pixels, display)
            for name, found in flux.items()
            if (pixels := found[i]) is not None
        ]
        picture = data_uri(drawn_png(cutout.orientation.picture(display.picture(known_flux(cutout)))))
        cards.append(
            Card(
                titles[i],
                row.name,
                str(row.object_id),
                f"tile {row.tile}, row {row.row}",
                _position(row, cutout),
                _sigma_text(row.sigma[primary]),
                _small(row.p),
                _small(row.q),
                flag_words(row.flags & ~int(Flag.PLANTED)),
                row.triage or "",
                _sorted_sigmas(row.sigma),
                "real" if row.planted_kind is None else f"planted: {row.planted_kind.replace('_', ' ')}",
                picture,
                explained,
            )
        )
    return cards


def _sorted_sigmas(sigma: Mapping[str, float | None]) -> list[tuple[str, str]]:
    largest_first = sorted(sigma.items(), key=lambda item: -np.inf if item[1] is None else item[1], reverse=True)
    return [(name, _sigma_text(value).removesuffix(" σ")) for name, value in largest_first]


def known_flux(cutout: Cutout, neighbours: Neighbours = "keep") -> np.ndarray:
    """(band, y, x) flux with every unobserved pixel NaN, as a model sees it that sees ``neighbours`` so."""
    seen = torch.tensor(np.where(cutout.ivar > 0, cutout.flux, np.float32(0)))
    flux, ivar = without_neighbours(seen[None], torch.tensor(cutout.ivar)[None], neighbours)
    return np.where(ivar[0].numpy() > 0, flux[0].numpy(), np.nan)


def reconstructed(model: TrainedModel, cutouts: Sequence[Cutout]) -> list[np.ndarray | None]:
    """(band, y, x) flux of each; None if the model does not reconstruct, or is not told what it needs of the object."""
    found: list[np.ndarray | None] = [None] * len(cutouts)
    if not isinstance(model.module, Reconstructs):
        return found
    able = [i for i, cutout in enumerate(cutouts) if model.contents.within(cutout.stored.contents)]
    for start in range(0, len(able), _BATCH_OBJECTS):
        part = able[start : start + _BATCH_OBJECTS]
        batch = join_batches([cutouts[i].stored.batch(model.stretch, model.contents) for i in part])
        stretched = model.reconstruct(batch).astype(np.float64)
        for i, pixels in zip(part, model.stretch.inverse(stretched), strict=True):
            found[i] = pixels
    return found


def _explain(name: str, cutout: Cutout, known: np.ndarray, model_flux: np.ndarray, display: Display) -> Explained:
    """``known``: (band, y, x) flux as the model saw it, NaN where missing."""
    sigma = [own or run for own, run in zip(cutout.sky_sigma, display.sigma, strict=True)]
    scaled = (known - model_flux) / np.asarray(sigma)[:, None, None]
    squares = scaled[np.isfinite(scaled)] ** 2
    rms = f"{float(np.sqrt(squares.mean())):.2g}" if squares.size else "no pixel"
    power = float(np.nansum((known / np.asarray(sigma)[:, None, None]) ** 2))
    return Explained(
        name,
        data_uri(drawn_png(cutout.orientation.picture(display.picture(model_flux)))),
        data_uri(residual_png(cutout.orientation.turned(strongest_residual(known, model_flux, sigma)))),
        rms,
        float(squares.sum()) / power if power else 0.0,
    )


def unexplained(cards: Sequence[Card]) -> dict[str, float]:
    """Model -> median over cards of the share of an object's power that its reconstruction leaves."""
    shares: dict[str, list[float]] = {}
    for part in (part for card in cards for part in card.explained):
        shares.setdefault(part.model, []).append(part.unexplained)
    return {model: float(np.median(values)) for model, values in shares.items()}


def _position(row: Shown, cutout: Cutout) -> str:
    if row.ra is not None and row.dec is not None:
        return f"RA {row.ra:.5f}°, Dec {row.dec:+.5f}°"
    if cutout.x_pixel is not None and cutout.y_pixel is not None:
        return f"x {cutout.x_pixel:.1f}, y {cutout.y_pixel:.1f} px (no sky position)"
    return "no position"


def _sigma_text(value: float | None) -> str:
    if value is None:
        return "not scored"
    return f"{round(value, 1) + 0.0:+.1f} σ" if abs(value) < 1000 else f"{value:+.3g} σ"  # + 0.0: never "-0.0"


def _small(value: float | None) -> str:
    return "none" if value is None else f"{value:.2g}"
