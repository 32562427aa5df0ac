"""README.md of a trained model's folder, from its card: a model card as model hubs read it.

A head in YAML (https://huggingface.co/docs/hub/model-cards), then what a stranger must know: what it was trained on,
what it measures, how well it does, what it is not for, and how to load it. The same card gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from galflow.training.model_card import ModelCard

_CUTOUTS = "cutouts cutouts/"
"""How the inputs of a training name a cutout set, whose key goes on with survey and release."""
_ABILITIES = {
    "exact_log_likelihood": "states an exact log-likelihood",
    "one_pass_sampling": "draws galaxies in one pass",
    "free_form_jacobian": "has a Jacobian of free form",
    "trains_on_data": "is trained on data alone",
}
_LIMITS = """\
- It knows cutouts of this size, these bands in this order, and flux in this unit, cut out and stretched as above; of
  another survey, depth, seeing or pixel scale its scores mean something else, and its p-values mean nothing.
- A score is high for whatever the training set lacks: artefacts, edges and neighbours as much as rare galaxies.
- p-values hold for objects like the held-out ones; how small one can be is limited by their number.
- A score says unusual under this model, and no more: not what an object is, nor that it is physically rare."""


def model_readme(card: ModelCard) -> str:
    """The whole text, UTF-8."""
    head = yaml.safe_dump(_head(card), sort_keys=False, allow_unicode=True, width=120)
    parts = [f"---\n{head}---", f"# {card.name}", _opening(card), *_sections(card)]
    return "\n\n".join(parts) + "\n"


def training_surveys(card: ModelCard) -> tuple[str, ...]:
    """Surveys and releases of the cutout sets that it was trained on, as "hubble 1", sorted."""
    keys = (key.removeprefix(_CUTOUTS) for key in card.training.get("inputs", {}) if key.startswith(_CUTOUTS))
    return tuple(sorted({" ".join(key.split("/")[:2]) for key in keys}))


def _head(card: ModelCard) -> dict[str, Any]:
    """As the hub's specification has it. The licence is that of the data, which galflow does not know."""
    surveys = ", ".join(training_surveys(card)) or "unknown"
    results = {
        "task": {"type": "anomaly-detection", "name": "Anomaly detection in galaxy images"},
        "dataset": {"type": "galflow-cutouts", "name": surveys},
        "metrics": [{"type": name, "value": value} for name, value in sorted(card.metrics.items())],
    }
    return {
        "library_name": "galflow",
        "license": "other",
        "license_name": "as-the-survey",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["astronomy", "galaxies", "anomaly-detection", "generative-model", card.model.split(".")[-1].lower()],
        "metrics": sorted(card.metrics),
        "model-index": [{"name": card.name, "results": [results] if card.metrics else []}],
    }


def _opening(card: ModelCard) -> str:
    able = [said for name, said in _ABILITIES.items() if card.abilities.get(name)]
    what = f"A `{card.model}` ({card.source}) of galaxy images, trained by galflow {card.code_version}"
    return f"{what}. It {_and(able)}." if able else f"{what}."


def _sections(card: ModelCard) -> list[str]:
    facts = card.training
    counts = facts.get("counts", {})
    trained_on = [
        f"- survey and release: {', '.join(training_surveys(card)) or 'not stated'}",
        f"- objects: {', '.join(f'{n:,} {split}' for split, n in counts.items()) or 'not stated'}",
        f"- bands: {', '.join(card.bands)}; {card.cutouts.get('size', '?')} pixels on a side; unit {card.unit}",
        f"- seed: {facts.get('seed', 'not stated')}; fingerprint: `{card.fingerprint}`",
    ]
    settings = {"arguments": card.arguments, "stretch": card.stretch.model_dump(mode="json", exclude_none=True)}
    settings |= {"training": facts["settings"]} if "settings" in facts else {}
    return [
        "## Training data",
        "\n".join(trained_on),
        "Cutout sets, with the fingerprint of each, stand in `card.json`.",
        "## Licence",
        "The code is under BSD-3-Clause. Weights are made of the survey's pixels: the survey's own terms of use hold, "
        "and its data are to be cited. Whoever shares this folder puts the licence in the head of this file.",
        "## Scores",
        "Higher is more anomalous, in every one; the first to look at is " + f"`{card.main_score}`.",
        _table(("score", "what it measures"), ((f"`{name}`", said) for name, said in card.scores.items())),
        "## Metrics",
        _table(("metric", "value"), ((f"`{name}`", f"{value:.6g}") for name, value in sorted(card.metrics.items()))),
        "## Limits",
        _LIMITS,
        "## How to load",
        '```python\nimport galflow\n\nmodel = galflow.load_model("this-folder")\n'
        f"table = galflow.score(model, images)  # (N, {len(card.bands)}, y, x) {card.unit}, NaN where missing\n```",
        "No store is needed. `galflow export this-folder -o model.onnx` writes it for other software.",
        "## Settings",
        "```yaml\n" + yaml.safe_dump(settings, sort_keys=False, width=120) + "```",
    ]


def _table(names: tuple[str, str], rows: Iterable[tuple[str, str]]) -> str:
    lines = [f"| {' | '.join(names)} |", "| --- | --- |"]
    lines += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join(lines)


def _and(words: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
