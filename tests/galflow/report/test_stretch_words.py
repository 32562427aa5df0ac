"""The report says in which stretch models see pixels, and why."""

from __future__ import annotations

from dataclasses import replace

from galflow.photometry import AsinhStretch, LinearStretch, Stretch
from galflow.report.inputs import ReportInputs
from galflow.report.stretch_words import stretch_sentences
from galflow.training.stretch_card import StretchCard
from galflow.training.trained_model import TrainedModel


def seen(model: TrainedModel, stretch: Stretch, white: tuple[float, ...] | None) -> TrainedModel:
    update = {"stretch": StretchCard.of(stretch), "display_white": white, "unit": "count"}
    return replace(model, card=model.card.model_copy(update=update))


def test_each_way_of_seeing_has_its_sentence(finished_run: ReportInputs) -> None:
    model = next(iter(finished_run.models.values()))
    asinh, linear = AsinhStretch(3.0, 1000.0, (1.0,)), LinearStretch((255.0,), (1.0,))

    def said(stretch: Stretch, white: tuple[float, ...] | None) -> str:
        (sentence,) = stretch_sentences({"a": seen(model, stretch, white), "b": seen(model, stretch, white)})
        return sentence

    assert said(asinh, None) == (
        "Models see pixels in an asinh stretch, linear up to 3 and white at 1000 sky sigmas (Lupton+99), since they "
        "are flux."
    )
    assert said(linear, (255.0,)) == (
        "Models see pixels in a linear stretch, from black at 0 to white at 255, since the survey's pictures were "
        "stretched for display already."
    )
    assert said(asinh, (255.0,)).endswith(
        "as the specification says, although the survey's pictures were stretched for display already."
    )
    assert said(linear, None).endswith("white at 255, as the specification says.")
    both = stretch_sentences({"a": seen(model, asinh, None), "b": seen(model, linear, (255.0,))})
    assert [sentence.split(" pixels")[0] for sentence in both] == ["a sees", "b sees"]


def test_what_becomes_of_neighbours_is_said_where_it_is_not_kept(finished_run: ReportInputs) -> None:
    model = next(iter(finished_run.models.values()))

    def sees(how: str) -> TrainedModel:
        return replace(model, card=model.card.model_copy(update={"neighbours": how}))

    (kept,) = stretch_sentences({"a": model, "b": sees("keep")})
    assert "neighbour" not in kept
    (sentence,) = stretch_sentences({"a": sees("mask"), "b": sees("mask")})
    assert sentence == kept.removesuffix(".") + "; pixels with a neighbour's light are missing."
    both = stretch_sentences({"a": sees("sky"), "b": model})
    assert both[0].endswith("since they are flux; in the place of a neighbour's light they see sky of the same cutout.")
    assert both[1].startswith("b sees")


def test_the_report_of_flux_says_asinh(finished_run: ReportInputs) -> None:
    assert stretch_sentences(finished_run.models)[0].startswith("Models see pixels in an asinh stretch, linear up to 3")
