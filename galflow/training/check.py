"""Whether a model of the specification can be trained, or is trained as the run needs it; asked before any work."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from galflow.errors import IntegrityError, ModelError, SpecError
from galflow.models.base import Density, all_models, build_model, find_model
from galflow.photometry import AsinhStretch, Stretch
from galflow.spec.models import ModelSpec, Ratio
from galflow.spec.neighbours import Neighbours
from galflow.spec.stretch import StretchSpec
from galflow.spec.training import TrainingSpec
from galflow.training.brought_weights import brings_weights, give_weights
from galflow.training.trained_model import load_uri
from galflow.training.trial import try_model


def check_model(
    model: ModelSpec,
    bands: tuple[str, ...],
    size: int,
    stretch: StretchSpec,
    ranks_by: str | None = None,
    displayed: bool | None = None,
) -> None:
    """SpecError if ``model`` cannot be built for cutouts of these bands and size, or was trained for other ones.

    Weights that it brings are read and tried. Also if it was trained before galflow had the score ``ranks_by`` that is
    to rank, or on flux where the survey's pictures were stretched for display already (``displayed``; None: not known),
    or the other way round.
    """
    if model.trained is None:
        seen = None if stretch.kind == "linear" else stretch
        taken = constructor_arguments(model, len(bands), size, seen)
        try_model(model.model, taken)
        if brings_weights(model):
            give_weights(build_model(model.model, **taken), model)
        return
    try:
        card = load_uri(model.trained, model=model.model).card
    except (IntegrityError, ModelError) as error:
        raise SpecError(f"model {model.name}: trained: {error}") from error
    for what, trained, wanted in (
        ("for bands", ", ".join(card.bands), ", ".join(bands)),
        ("for cutouts of size", card.arguments["size"], size),
    ):
        if trained != wanted:
            raise SpecError(
                f"model {model.name}: {model.trained} was trained {what} {trained}, and this run asks for {wanted}; "
                "give another model, or leave out trained to train one"
            )
    learnt = card.display_white is not None
    if displayed is not None and "display_white" in card.model_fields_set and learnt != displayed:
        kinds = {True: "pictures that were stretched for display already", False: "flux"}
        raise SpecError(
            f"model {model.name}: {model.trained} was trained on {kinds[learnt]}, and the survey's pixels are "
            f"{kinds[displayed]}; give another model, or leave out trained to train one"
        )
    if ranks_by is not None and ranks_by not in card.scores:
        raise SpecError(
            f"scoring.primary: {model.trained} gives no {ranks_by!r}; expected one of {', '.join(card.scores)}, or "
            f"leave out trained to train {model.name} anew"
        )


def check_ratio(ratio: Ratio, models: Sequence[ModelSpec], training: TrainingSpec) -> None:
    """SpecError if a model of ``ratio`` states no likelihood, or if its two models see neighbours otherwise.

    ``training``: the run's, of models that declare nothing of their own.
    """
    both = [model for model in models if model.name in (ratio.model, ratio.background)]
    for model in both:
        if not issubclass(find_model(model.model), Density):
            able = ", ".join(name for name, found in all_models().items() if issubclass(found, Density))
            raise SpecError(
                f"model {ratio.model}: background {ratio.background!r} asks for a likelihood ratio, but {model.model} "
                f"has no exact log-likelihood; expected one of {able}"
            )
    seen = {model.name: _neighbours_of(model, training) for model in both}
    if len(set(seen.values())) > 1:
        told = ", ".join(f"{name} has neighbours: {how}" for name, how in seen.items())
        raise SpecError(
            f"model {ratio.model}: a likelihood ratio is of the very same pixels, but {told}; give both the same "
            "training.neighbours"
        )


def _neighbours_of(model: ModelSpec, training: TrainingSpec) -> Neighbours:
    if model.trained is not None:
        return load_uri(model.trained, model=model.model).card.neighbours
    return model.training.neighbours or training.neighbours


def constructor_arguments(
    model: ModelSpec, channels: int, size: int, seen: StretchSpec | Stretch | None
) -> dict[str, Any]:
    """All arguments of the model's constructor: its options, and what follows from the cutouts and their stretch.

    A model that must undo the stretch takes ``softening_sigma`` and ``white_sigma`` of an asinh; ``seen`` is None, or a
    LinearStretch, where pixels are seen in a linear stretch. SpecError if such a model is to see that, or if an option
    tries to choose what follows.
    """
    taken = inspect.signature(find_model(model.model).__init__).parameters
    stretch: dict[str, float] = {}
    if isinstance(seen, StretchSpec | AsinhStretch):
        stretch = {"softening_sigma": seen.softening_sigma, "white_sigma": seen.white_sigma}
    elif "softening_sigma" in taken:
        raise SpecError(
            f"model {model.name}: {model.model} models flux, and undoes the asinh in which it sees it; here pixels are "
            "seen in a linear stretch, as pictures are that were stretched for display already. Leave the model out; "
            "if the pixels are flux, set the survey's display_stretched: false, or stretch.kind: asinh"
        )
    follows = {"channels": channels, "size": size} | {n: value for n, value in stretch.items() if n in taken}
    for name, value in follows.items():
        if name in model.options:
            source = "stretch" if name in stretch else "cutouts"
            raise SpecError(
                f"model {model.name}: option {name!r} is {model.options[name]!r}; it follows from the {source} (here "
                f"{value}) and cannot be chosen: leave it out"
            )
    return {**follows, **model.options}
