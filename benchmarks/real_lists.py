"""``python -m benchmarks.real_lists ROOT RUN OUT.png [BLUE GREEN RED]``: the list of a run's report as a picture.

One stamp for each object of the section "Most anomalous", with its rank, in colours that show the noise; and a line
each: rank, id, position, and what every score says. docs/real_lists.md describes two of them.
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image, ImageDraw

import galflow
from galflow.catalog.ranking import ANOMALY
from galflow.constants import SIGMA_PER_MAD
from galflow.report.objects import select_objects
from galflow.storage.store import Store

COUNT, COLUMNS, SIDE, LABEL = 20, 5, 160, 14
BLACK_SIGMA, WHITE_SIGMA = 3.0, 100.0
"""Of an asinh: linear up to the one, white at the other."""
DEAD_SIGMA, DEAD_RGB = 10.0, (255, 0, 255)
"""So far below the sky no light lies: a colour of its own shows it."""


def stamp(flux: np.ndarray) -> Image.Image:
    """(3, y, x) blue to red -> colours, y upwards."""
    sky = SIGMA_PER_MAD * np.nanmedian(np.abs(flux - np.nanmedian(flux, (1, 2), keepdims=True)), (1, 2), keepdims=True)
    shown = np.arcsinh(np.nan_to_num(flux) / (BLACK_SIGMA * sky)) / np.arcsinh(WHITE_SIGMA / BLACK_SIGMA)
    pixels = (255 * np.clip(shown[::-1], 0, 1)).astype(np.uint8).transpose(1, 2, 0)
    pixels[(flux < -DEAD_SIGMA * sky).any(0)] = DEAD_RGB
    return Image.fromarray(pixels[::-1]).resize((SIDE, SIDE), Image.Resampling.NEAREST)


def main(root: str, name: str, out: str, *bands: str) -> None:
    """Draw the list and print it."""
    run = galflow.open_run(f"{root}/runs/{name}")
    scores = [c.removesuffix("_sigma") for c in run.catalog.column_names if c.endswith("_sigma")]
    scores.sort(key=lambda name: name != ANOMALY)
    product = f"catalogs/{run.spec['output']['catalog']}/{name}"
    found = select_objects(Store.open(root), product, scores, count=COUNT, seed=0, planted=False, likelihood_edges={})
    sheet = Image.new("RGB", (COLUMNS * SIDE, -(-len(found.top) // COLUMNS) * (SIDE + LABEL)), "white")
    for place, row in enumerate(found.top):
        cutout = run.cutout(row.object_id)
        flux = np.stack([cutout.flux[cutout.bands.index(b)] for b in bands or cutout.bands[:3]])
        x, y = place % COLUMNS * SIDE, place // COLUMNS * (SIDE + LABEL)
        sheet.paste(stamp(flux), (x, y + LABEL))
        ImageDraw.Draw(sheet).text((x + 3, y + 1), f"#{row.rank}", fill="black")
        said = ", ".join(f"{c} {s:+.1f}" for c, s in row.sigma.items() if s is not None)
        print(f"#{row.rank} {row.object_id} ra {row.ra} dec {row.dec} {row.triage}: {said}")
    sheet.quantize(256).save(out, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
