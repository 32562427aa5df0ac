"""How the models of a run see pixels, and why, in a sentence: the stretch, and what becomes of neighbours' light."""

from __future__ import annotations

from collections.abc import Mapping

from galflow.photometry import COUNT, AsinhStretch, LinearStretch
from galflow.spec.neighbours import Neighbours
from galflow.training.trained_model import ModelCard, TrainedModel

_WITHOUT: Mapping[Neighbours, str] = {
    "keep": "",
    "mask": "; pixels with a neighbour's light are missing",
    "sky": "; in the place of a neighbour's light they see sky of the same cutout",
}


def stretch_sentences(models: Mapping[str, TrainedModel]) -> list[str]:
    """A sentence for each way of seeing: one, unless a model was trained elsewhere or sees neighbours otherwise."""
    names: dict[str, list[str]] = {}
    for name, model in models.items():
        names.setdefault(_way_of(model.card) + _WITHOUT[model.card.neighbours], []).append(name)
    if len(names) == 1:
        return [f"Models see {way}." for way in names]
    return [f"{', '.join(who)} see{'s' * (len(who) == 1)} {way}." for way, who in names.items()]


def _way_of(card: ModelCard) -> str:
    stretch = card.stretch.stretch()
    displayed = card.display_white is not None
    if isinstance(stretch, LinearStretch):
        white = ", ".join(dict.fromkeys(f"{value:.4g}" for value in stretch.white))
        unit = "" if card.unit == COUNT else f" {card.unit}"
        words = f"pixels in a linear stretch, from black at 0 to white at {white}{unit}"
        if displayed and stretch.white == card.display_white:
            return f"{words}, since the survey's pictures were stretched for display already"
        return f"{words}, as the specification says"
    if not isinstance(stretch, AsinhStretch):
        return f"pixels through {stretch}"
    words = (
        f"pixels in an asinh stretch, linear up to {stretch.softening_sigma:g} and white at {stretch.white_sigma:g} "
        "sky sigmas (Lupton+99)"
    )
    if displayed:
        return f"{words}, as the specification says, although the survey's pictures were stretched for display already"
    return f"{words}, since they are flux"
