"""What an autoregressive model says of one pixel given those before it, with the pixel's true value.

Two pixels of a galaxy: the brightest of its core, and one of its sky. Nothing is drawn at random.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galflow.errors import ModelError
from galflow.models.shared.autoregressive import Autoregressive
from galflow.report.cards import Cutout
from galflow.report.pictures import Pixels
from galflow.report.plots import STYLE
from galflow.training.trained_model import TrainedModel

FloatArray = npt.NDArray[np.float64]
_BANDS = (("#d55e00", "-"), ("#009e73", "--"), ("#0072b2", "-."))
"""Colour and line of the red, the green and the blue channel: told apart without seeing red or green."""
_TAIL = 3e-3
"""Probability beyond each end of a panel's axis."""
_WIDTH, _ROW, _HEAD, _FOOT = 8.6, 2.2, 0.3, 0.4
"""Inches."""


@dataclass(frozen=True, eq=False)
class PixelPdf:
    """The predicted distribution of one pixel of one galaxy, in every band."""

    where: str
    """ "core" or "sky"."""
    y: int
    x: int
    size: int
    """Pixels on a side of the cutout."""
    values: FloatArray
    """(levels,) middles of the bins, in the model's stretch."""
    density: FloatArray
    """(band, levels) per stretched unit."""
    true: FloatArray
    """(band,) what the pixel is."""

    @property
    def below(self) -> FloatArray:
        """(band,) predicted probability of a value below the true one; of its own bin half."""
        mass = self.density / self.density.sum(1, keepdims=True)
        own = np.abs(self.values[None] - self.true[:, None]).argmin(1)
        return np.array([m[:i].sum() + m[i] / 2 for m, i in zip(mass, own, strict=True)])


def pixel_pdfs(model: TrainedModel, cutout: Cutout) -> list[PixelPdf]:
    """Of the brightest pixel of the core, and of a pixel of the sky; fewer where none is observed in all bands.

    The core is the middle third; of the frame, an eighth of the side wide, the pixel of median brightness is taken,
    without the first quarter of the rows, which has little before it. ModelError for a model of another kind.
    """
    module = model.module
    if not isinstance(module, Autoregressive):
        raise ModelError(f"{model.card.model} does not predict pixel by pixel; only PixelCNN and PixelCNN++ do")
    batch = cutout.stored.batch(model.stretch, model.contents).to(model.device)
    brightness = batch.pixels[0].mean(0).double().cpu().numpy()
    observed = batch.observed[0].all(0).cpu().numpy()
    size = len(brightness)
    y, x = np.indices(brightness.shape)
    near = np.minimum.reduce([y, x, size - 1 - y, size - 1 - x])
    core = observed & (near >= size // 3)
    frame = observed & (near < max(1, size // 8)) & (y >= size // 4)
    found = []
    for where, allowed in (("core", core), ("sky", frame)):
        if not allowed.any():
            continue
        wanted = brightness[allowed].max() if where == "core" else np.median(brightness[allowed])
        place = np.where(allowed, np.abs(brightness - wanted), np.inf).argmin()
        py, px = (int(i) for i in np.unravel_index(place, brightness.shape))
        with torch.no_grad():
            each = [module.pixel_distribution(batch, py, px, band) for band in range(module.channels)]
        density = np.stack([mass[0].double().cpu().numpy() for _, mass in each]) / module.bins.width
        true = batch.pixels[0, :, py, px].double().cpu().numpy()
        found.append(PixelPdf(where, py, px, size, each[0][0].double().cpu().numpy(), density, true))
    return found


@dataclass(frozen=True, eq=False)
class PredictedGalaxy:
    """One galaxy of the figure."""

    title: str
    picture: Pixels
    pdfs: list[PixelPdf]


def pixel_figure(galaxies: Sequence[PredictedGalaxy], bands: Sequence[str], channels: Sequence[int]) -> Figure:
    """A row a galaxy: its picture with both pixels marked, then the distribution predicted for each of them.

    ``channels``: numbers of the bands drawn, red first; at most three.
    """
    with matplotlib.rc_context(STYLE):
        height = _HEAD + _FOOT + _ROW * len(galaxies)
        figure = Figure(figsize=(_WIDTH, height))
        for number, galaxy in enumerate(galaxies):
            bottom = _FOOT + _ROW * (len(galaxies) - 1 - number) + 0.3
            tall = _ROW - 0.78
            axes = figure.add_axes((0.25 / _WIDTH, bottom / height, tall / _WIDTH, tall / height))
            _draw_picture(axes, galaxy)
            for column, pdf in enumerate(galaxy.pdfs):
                left = 2.25 + column * 3.2
                panel = figure.add_axes((left / _WIDTH, bottom / height, 2.6 / _WIDTH, tall / height))
                _draw_pdf(panel, pdf, bands, channels)
                if number == len(galaxies) - 1:
                    panel.set_xlabel("pixel value in the model's stretch")
        handles, labels = next((f for axes in figure.axes if any(f := axes.get_legend_handles_labels())), ([], []))
        figure.legend(
            handles, labels, loc="upper left", ncols=max(1, len(labels)), bbox_to_anchor=(0.0, 1.0), fontsize=8
        )
        return figure


def _draw_picture(axes: Axes, galaxy: PredictedGalaxy) -> None:
    axes.imshow(galaxy.picture, origin="lower", interpolation="nearest")
    axes.set(xticks=(), yticks=())
    axes.set_title(galaxy.title, loc="left")
    for pdf, marker in zip(galaxy.pdfs, "so", strict=False):
        scale = len(galaxy.picture) / pdf.size  # large cutouts are drawn smaller
        x, y = (pdf.x + 0.5) * scale - 0.5, (pdf.y + 0.5) * scale - 0.5
        for colour, width in (("black", 2.6), ("white", 1.2)):
            axes.plot(x, y, marker, markersize=8, markerfacecolor="none", markeredgecolor=colour, markeredgewidth=width)


def _draw_pdf(axes: Axes, pdf: PixelPdf, bands: Sequence[str], channels: Sequence[int]) -> None:
    half = (pdf.values[1] - pdf.values[0]) / 2
    edges = np.append(pdf.values - half, pdf.values[-1] + half)
    ends: list[float] = []
    for band, (colour, line) in zip(channels, _BANDS, strict=False):
        axes.stairs(pdf.density[band], edges, color=colour, linestyle=line, linewidth=1.4, label=bands[band])
        true = float(np.clip(pdf.true[band], edges[0], edges[-1]))
        axes.plot(true, 0.0, "^", color=colour, markersize=7, clip_on=False, zorder=5, markeredgecolor="white")
        axes.axvline(true, color=colour, linestyle=line, linewidth=0.8)
        cumulative = pdf.density[band].cumsum() / pdf.density[band].sum()
        ends += [*np.interp([_TAIL, 1 - _TAIL], cumulative, edges[1:]), true]
    margin = 0.08 * (max(ends) - min(ends)) + half
    axes.set_xlim(min(ends) - margin, max(ends) + margin)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(4, min_n_ticks=2))
    axes.set_ylabel("probability density")
    below = ", ".join(f"{bands[band]} {pdf.below[band]:.0%}" for band in channels[: len(_BANDS)])
    mark = {"core": "Core (square)", "sky": "Sky beside it (circle)"}[pdf.where]
    axes.set_title(f"{mark}, pixel x = {pdf.x}, y = {pdf.y}\nbelow the true value: {below}", loc="left", fontsize=8)
