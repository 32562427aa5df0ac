"""How simulated galaxies were observed, as a run's cutout sets say, with one of them drawn step by step.

The pictures are made anew of the simulation's own files, for no product keeps what lies between the file and the
cutout; where these cannot be read any more the report says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from galflow.cutouts.cutout_set import CutoutSet
from galflow.errors import GalflowError
from galflow.report.inputs import CUTOUTS, ReportInputs
from galflow.report.pictures import (
    LEAST_WHITE_SIGMA,
    SOFTENING_SIGMA,
    SVG,
    Display,
    brightness_sigma,
    data_uri,
)
from galflow.report.plots import STYLE, svg
from galflow.spec.run import SurveySpec
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from galflow.surveys.mock_tile import ObservationStep
from galflow.surveys.reading.sky import look_at_sky
from galflow.surveys.resolve import open_survey
from galflow.surveys.simulation import Simulation

KEY = "mock_observation"
"""Attribute of the cutout sets of a simulation."""
_SAMPLE = f"{CUTOUTS} of "
_WIDTH, _HEIGHT = 1.9, 2.15
"""Inches of a picture, its title included."""


@dataclass(frozen=True)
class ShownObservation:
    """How one sample was observed."""

    sample: str
    steps: str
    counts: str
    """How many mocks count, and why others do not."""
    figure: str | None
    """Data URI of the steps of one mock."""
    caption: str
    """Which mock, or why there is no figure."""


def mock_observations(store: Store, receipts: Mapping[str, Sequence[Receipt]]) -> dict[str, Any]:
    """``{"mock_observations": {sample: ...}}`` of a run's simulations; empty where it has none.

    ``receipts``: by the stages' names. Of each sample its steps and conventions, and ``counts`` of mocks by reason over
    all tiles. The survey itself, where it is a simulation, is called "survey".
    """
    found = {}
    for stage, of_stage in receipts.items():
        sets = [receipt for receipt in of_stage if receipt.rows]
        if not (stage == CUTOUTS or stage.startswith(_SAMPLE)) or not sets:
            continue
        said = CutoutSet(store, sets[0].product).attributes.get(KEY)
        if said is None:
            continue
        counts: Counter[str] = Counter()
        for receipt in sets:
            counts.update(CutoutSet(store, receipt.product).attributes[KEY]["counts"])
        kept = {name: value for name, value in said.items() if name not in ("counts", "imitated_tile")}
        found[stage.removeprefix(_SAMPLE) if stage != CUTOUTS else "survey"] = kept | {"counts": dict(counts)}
    return {"mock_observations": found} if found else {}


def shown_observations(inputs: ReportInputs) -> list[ShownObservation]:
    """What the report shows of each simulation."""
    surveys = {s.name: s.survey for s in inputs.spec.samples} | {"survey": inputs.spec.survey}
    said: Mapping[str, Mapping[str, Any]] = inputs.findings.get("mock_observations", {})
    return [_shown(sample, surveys[sample], told) for sample, told in said.items()]


def sample_steps(inputs: ReportInputs, sample: str) -> Figure | None:
    """The steps of one galaxy of a simulation, by its name in the findings; None where it has none to draw."""
    surveys = {s.name: s.survey for s in inputs.spec.samples} | {"survey": inputs.spec.survey}
    opened = open_survey(surveys[sample])
    if not isinstance(opened, Simulation):
        return None
    _, pictures = opened.observation_steps(opened.listed[0])
    return steps_figure(pictures, opened.bands)


def _shown(sample: str, survey: SurveySpec, told: Mapping[str, Any]) -> ShownObservation:
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(told["counts"].items(), key=lambda c: -c[1]))
    dimming = f"; surface brightness dims {told['dimming'].replace('_', ' ')}" if told["dimming"] else ""
    steps = f"{', '.join(told['steps']) or 'none'}{dimming}; k-correction {told['k_correction'].replace('_', ' ')}; "
    steps += f"{told['cosmology']}; the files' light is {told['light']}"
    try:
        opened = open_survey(survey)
        if not isinstance(opened, Simulation):
            return ShownObservation(sample, steps, counts, None, f"a survey of kind {survey.kind} has no steps to draw")
        name, pictures = opened.observation_steps(opened.listed[0])
    except GalflowError as error:
        return ShownObservation(sample, steps, counts, None, f"its files cannot be read any more: {error}")
    figure = data_uri(svg(steps_figure(pictures, opened.bands)), SVG)
    return ShownObservation(sample, steps, counts, figure, f"galaxy {name}, one square for all steps")


def steps_figure(steps: Sequence[ObservationStep], bands: Sequence[str]) -> Figure:
    """A row of pictures, one a step, of the same square of sky in the same stretch; axes in arcsec.

    Brightness is per square arcsecond in units of the noise of the last step, so that dimming shows.
    """
    sigma = [_sigma(step) for step in np.asarray(steps[-1].light, np.float64)]
    display = Display(tuple(bands), tuple(sigma), "nJy/arcsec2", SOFTENING_SIGMA, LEAST_WHITE_SIGMA)
    side = steps[-1].light.shape[-1]
    middle = slice(side // 3, side - side // 3)  # neighbours on real sky may be brighter
    peak = float(np.nan_to_num(brightness_sigma(steps[-1].light[None, :, middle, middle], display)[0]))
    display = replace(display, white_sigma=max(LEAST_WHITE_SIGMA, peak))
    half = side * steps[-1].pixel_scale_arcsec / 2
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(_WIDTH * len(steps), _HEIGHT))
        for number, step in enumerate(steps):
            axes = figure.add_axes((number / len(steps) + 0.02, 0.1, 1 / len(steps) - 0.03, 0.78))
            picture = display.picture(np.asarray(step.light, np.float64))
            reach_y, reach_x = (n * step.pixel_scale_arcsec / 2 for n in step.light.shape[-2:])
            extent = (-reach_x, reach_x, -reach_y, reach_y)
            axes.imshow(picture, origin="lower", extent=extent, interpolation="nearest")
            axes.set(xlim=(-half, half), ylim=(-half, half), title=step.name, facecolor="black", yticks=())
            axes.tick_params(labelsize=6.5, length=2)
            axes.xaxis.set_major_locator(MaxNLocator(4))
            axes.xaxis.set_major_formatter("{x:g}″")
    return figure


def _sigma(plane: np.ndarray) -> float:
    """Noise of a plane; a small part of its brightest pixel where there is none."""
    look = look_at_sky(plane.astype(np.float32))
    sigma = look.sigma if look.sigma > 0 else look.nominal_sigma
    return sigma if sigma > 0 else 1.0
