"""The Flow-VAE emulator on the synthetic survey, whose truth is known, and its four panels there and on a real field.

``python -m benchmarks.emulator`` trains on galaxies of benchmarks.synthetic_galaxies and prints what is measured on
others that the training never saw; ``--panels docs/models`` also writes emulator_panels_synthetic.png and
emulator_panels_hubble.png there. The truth is GalSim's: nothing of the model's own optics takes part in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import curve_fit
from scipy.stats import ks_2samp

from benchmarks.hubble_galaxies import hubble_galaxies
from benchmarks.morphology import measure
from benchmarks.synthetic_galaxies import SURVEY, Galaxies, make_galaxies
from benchmarks.tables import Finding, Findings
from galflow.batch import Batch
from galflow.layers.images.observe import gaussian_psf
from galflow.models.flow_vae import FLOW_PLAYERS, FlowVAE
from galflow.photometry import FWHM_PER_SIGMA
from galflow.report.emulation import EUCLID_VIS, FINE, draw_panels, four_panels, png
from galflow.training.players import PhaseOptimisers

SIZE = 32
TRAINING, HELD_OUT = 10_000, 2000
BATCH_OBJECTS, FLOW_BATCH_OBJECTS = 32, 128
"""The flow learns a density, where few objects at a time leave its step noisy."""
STEPS = 9600
"""Optimiser steps of a player of effort 1; the VAE's three players have 1 together, the flow's two 0.6."""
HUBBLE_STEPS = 2500
"""The real field holds a tenth as many galaxies."""
OPTIONS: dict[str, Any] = {"oversample": 2, "flow_transforms": 5, "flow_width": 128}
FAINT = (20.0, 100.0)
"""Total signal-to-noise of the galaxies whose gain is asked for."""
PANEL_LABELS = "magnitude {magnitude:.1f}, S/N {snr:.0f}"


def train(batch: Batch, *, seed: int = 0, steps: int = STEPS, **options: Any) -> FlowVAE:
    """A FlowVAE trained on ``batch`` by the players, augmentation and optimisers of galflow.training."""
    torch.manual_seed(seed)
    _, channels, size, _ = batch.pixels.shape
    model = FlowVAE(channels=channels, size=size, **(OPTIONS | options))
    model.initialise(batch[:1000])
    model.train()
    for player in model.players:
        team = PhaseOptimisers(model, [player], None)
        objects = FLOW_BATCH_OBJECTS if player.name in FLOW_PLAYERS else BATCH_OBJECTS
        for rows in shuffled_rows(len(batch), round(player.effort * steps), objects, seed + player.phase):
            team.step_round([batch[rows]], augment=True)
        team.release()
    model.eval()
    model.finish(batch[i : i + 1000] for i in range(0, len(batch), 1000))
    return model


def shuffled_rows(objects: int, batches: int, size: int, seed: int) -> Iterator[torch.Tensor]:
    """Rows of so many batches of that size, in passes of a new order each."""
    order = torch.Generator().manual_seed(seed)
    left = torch.empty(0, dtype=torch.int64)
    for _ in range(batches):
        if len(left) < size:
            left = torch.randperm(objects, generator=order)
        yield left[:size]
        left = left[size:]


@torch.no_grad()
def judge(model: FlowVAE, held_out: Galaxies) -> tuple[Finding, ...]:
    """Everything asked of the emulator, on galaxies that it never saw."""
    batch, sigma = held_out.batch(model.conditions), held_out.sky_sigma[:, None, None]
    parts = [batch[i : i + 250] for i in range(0, len(batch), 250)]
    chi2 = torch.cat([model.score(part)["chi2"] for part in parts]).numpy()
    fitted = torch.cat([model.through(model.decode(model.encode(p)), p.psf) for p in parts]).numpy() * sigma
    gain = psnr_gain(held_out, fitted)
    asked = (held_out.snr >= FAINT[0]) & (held_out.snr <= FAINT[1])
    draw = torch.Generator().manual_seed(11)
    made = [model.through(model.emulate(_conditions(p), draw), p.psf) for p in parts]
    fake, true = measure(torch.cat(made).numpy()[:, -1] * sigma[-1]), measure(held_out.clean[:, -1])
    ks = {name: float(ks_2samp(getattr(fake, name), getattr(true, name)).statistic) for name in vars(true)}
    return (
        Finding("held-out chi-square per observed pixel", float(chi2.mean()), 0.95, 1.05),
        Finding("  median galaxy", float(np.median(chi2))),
        Finding("PSNR gain of the reconstruction, S/N 20 to 100, mean, dB", float(gain[asked].mean()), low=8.0),
        Finding("  5th percentile, dB", float(np.quantile(gain[asked], 0.05))),
        Finding("  brighter galaxies, mean, dB", float(gain[held_out.snr > FAINT[1]].mean())),
        *(Finding(f"KS of samples to truth, {name.replace('_', '-')}", value, high=0.1) for name, value in ks.items()),
        Finding("FWHM of a point under Euclid's PSF over 0.16 arcsec", euclid_fwhm(model) / 0.16, 0.98, 1.02),
    )


def _conditions(batch: Batch) -> torch.Tensor:
    return batch.conditions if batch.conditions is not None else batch.pixels.new_zeros(len(batch), 0)


def psnr_gain(galaxies: Galaxies, fitted: np.ndarray) -> np.ndarray:
    """(n,) by how many dB ``fitted`` lies nearer to the noise-free image than the noisy one, in sky sigmas."""
    sigma = galaxies.sky_sigma[:, None, None]
    before, after = ((((images - galaxies.clean) / sigma) ** 2).mean((1, 2, 3)) for images in (galaxies.noisy, fitted))
    return 10 * np.log10(before / after)


@torch.no_grad()
def euclid_fwhm(model: FlowVAE) -> float:
    """FWHM in arcsec, by a least-squares Gaussian, of one point of light as Euclid sees it."""
    nodes = model.decoder.canvas * model.oversample
    light = torch.zeros(1, model.channels, nodes, nodes)
    light[:, :, nodes // 2, nodes // 2] = 1000.0
    width = EUCLID_VIS.pixel_scale_arcsec
    psf = gaussian_psf(FINE * EUCLID_VIS.psf_fwhm_arcsec / width)
    relative = width / SURVEY.pixel_scale_arcsec
    image = model.observe(light, psf, size=24, pixel_width=relative, psf_oversample=FINE)[0, 0].double().numpy()
    y, x = np.mgrid[:24, :24].reshape(2, -1).astype(float)

    def gaussian(at: np.ndarray, peak: float, y0: float, x0: float, spread: float) -> np.ndarray:
        return peak * np.exp(-0.5 * ((at[0] - y0) ** 2 + (at[1] - x0) ** 2) / spread**2)

    (_, _, _, spread), _ = curve_fit(gaussian, np.stack([y, x]), image.ravel(), p0=[300.0, 12.0, 12.0, 1.0])
    return abs(float(spread)) * FWHM_PER_SIGMA * width


def run() -> Iterator[Findings]:
    """Train, judge."""
    yield measured()[0]


def measured() -> tuple[Findings, FlowVAE, Galaxies]:
    """The table, with the model and the held-out galaxies it is about."""
    galaxies, held_out = make_galaxies(TRAINING, 1, SIZE), make_galaxies(HELD_OUT, 2, SIZE)
    before = time.process_time()
    model = train(galaxies.batch())
    seconds = time.process_time() - before
    rows = (*judge(model, held_out), Finding("training, processor seconds", seconds))
    numbers = f"{TRAINING} galaxies, {HELD_OUT} held out, 3 bands, {SIZE} px, {STEPS} steps of {BATCH_OBJECTS}"
    title = f"Flow-VAE on synthetic: {numbers}"
    return Findings(title, rows), model, held_out


def synthetic_panels(model: FlowVAE, held_out: Galaxies) -> bytes:
    """A bright, a middling and a faint galaxy, and one drawn for the middling one's conditions, as PNG."""
    order = np.argsort(held_out.snr)[[-len(held_out) // 50, len(held_out) // 2, len(held_out) // 10]]
    rows = held_out.take(order)
    labels = [
        PANEL_LABELS.format(magnitude=m, snr=s) for m, s in zip(rows.catalogue["magnitude"], rows.snr, strict=True)
    ]
    batch, draw = rows.batch(model.conditions), torch.Generator().manual_seed(5)
    scale = SURVEY.pixel_scale_arcsec
    panels = four_panels(model, batch, labels, pixel_scale_arcsec=scale, generator=draw)
    context = model.latent_flow.context(_conditions(batch)[1:2])
    drawn = model.latent_flow.sample(context, draw).detach()
    label = ["drawn by the flow for\nthe second's conditions"]
    panels += four_panels(model, batch[1:2], label, pixel_scale_arcsec=scale, latents=drawn, generator=draw)
    figure = draw_panels(
        panels, bands=SURVEY.bands, pixel_scale_arcsec=scale, psf_fwhm_arcsec=SURVEY.psf_fwhm_arcsec,
        title="Flow-VAE on the synthetic survey: held-out galaxies",
    )  # fmt: skip
    return png(figure)


def hubble_panels() -> bytes:
    """Galaxies of the embedded deep field that the training did not see, drawn as PNG."""
    field = hubble_galaxies(SIZE)
    model = train(
        field.batch[~field.held_out],
        steps=HUBBLE_STEPS,
        conditions=field.conditions,
        softening_sigma=field.stretch.softening_sigma,
        white_sigma=field.stretch.white_sigma,
    )
    some = field.examples(4)
    labels = [f"S/N {snr:.0f}" for snr in field.snr[some]]
    panels = four_panels(
        model, field.batch[torch.from_numpy(some)], labels, pixel_scale_arcsec=field.pixel_scale_arcsec,
        generator=torch.Generator().manual_seed(5),
    )  # fmt: skip
    figure = draw_panels(
        panels, bands=field.bands, pixel_scale_arcsec=field.pixel_scale_arcsec, psf_fwhm_arcsec=field.fwhm_arcsec,
        title="Flow-VAE on the Hubble deep field (display counts): held-out galaxies",
    )  # fmt: skip
    return png(figure)


def main() -> None:
    """Print the table; with --panels write the pictures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.emulator", description=__doc__)
    parser.add_argument("--panels", type=Path, metavar="FOLDER", help="where to write the pictures of the docs")
    folder = parser.parse_args().panels
    findings, model, held_out = measured()
    print(findings.text(), flush=True)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "emulator_panels_synthetic.png").write_bytes(synthetic_panels(model, held_out))
        (folder / "emulator_panels_hubble.png").write_bytes(hubble_panels())


if __name__ == "__main__":
    main()
