"""Whether a model of the specification can be trained, or is trained as the run needs it; asked before any work."""

from __future__ import annotations

from galflow.errors import SpecError
from galflow.models.base import build_model
from galflow.spec import ModelSpec
from galflow.training.trained_model import load_uri


def check_model(model: ModelSpec, bands: tuple[str, ...], size: int) -> None:
    """SpecError if ``model`` cannot be built for cutouts of these bands and size, or was trained for other ones."""
    if model.trained is None:
        _check_options(model)
        build_model(model.model, channels=len(bands), size=size, **model.options)
        return
    card = load_uri(model.trained).card
    for what, trained, wanted in (
        ("as a", card.model, model.model),
        ("for bands", ", ".join(card.bands), ", ".join(bands)),
        ("for cutouts of size", card.arguments["size"], size),
    ):
        if trained != wanted:
            raise SpecError(
                f"model {model.name}: {model.trained} was trained {what} {trained}, and this run asks for {wanted}; "
                "give another model, or leave out trained to train one"
            )


def _check_options(model: ModelSpec) -> None:
    for option in ("channels", "size"):
        if option in model.options:
            raise SpecError(
                f"model {model.name}: option {option!r} follows from the cutouts and cannot be chosen; leave it out"
            )
