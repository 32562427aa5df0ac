"""Where a published run's products of each tile lie: scores, latents, residual pictures."""

from __future__ import annotations

from collections.abc import Callable

from galflow.spec.survey import SurveySpec
from galflow.storage.layout import RECEIPT_SUFFIX, latents_folder, residuals_folder, scores_folder
from galflow.storage.receipts import RunManifest

SCORES, LATENTS, RESIDUALS = "scores", "latents", "residuals"
"""Stages of a manifest, as galflow.report.inputs names them, which would bring every model."""
_FOLDERS: dict[str, Callable[[str], str]] = {
    SCORES: scores_folder, LATENTS: latents_folder, RESIDUALS: residuals_folder,
}  # fmt: skip


def tile_products(manifest: RunManifest, stage: str) -> dict[str, str]:
    """Tile -> key of its product of this stage; empty where the run has none."""
    survey = SurveySpec.model_validate(manifest.specification["survey"])
    inside = f"{_FOLDERS[stage](survey.survey_name)}/{survey.release}/"
    keys = [receipt.removesuffix(RECEIPT_SUFFIX) for receipt in manifest.products.get(stage, [])]
    return {key.removeprefix(inside).rpartition("/")[0]: key for key in keys}
