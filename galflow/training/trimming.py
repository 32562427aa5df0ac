"""Which training objects a model is trained without: the share that a first training of it scores highest.

Anomalies that a model has learnt from are normal to it. Of a survey that holds some, the likeliest anomalies are what a
training on all of it explains worst; the next training learns from the rest alone (iterative trimmed loss
minimisation: Shen & Sanghavi 2019, ICML, 5739). The model's main score takes the place of the loss: it is one number an
object for every model, and the training's own randomness is not in it. Ordinary objects are left out with
the anomalies: what is trimmed is no list of anomalies.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from galflow.batch import Batch
from galflow.cutouts.splits import Split
from galflow.cutouts.stream import TrainingSet
from galflow.models.base import GenerativeModel
from galflow.training.gpu_arithmetic import full_float32
from galflow.training.learning_curve import FitResult
from galflow.training.oom_splitter import OomSplitter
from galflow.training.ranks import SINGLE_PROCESS, Ranks


def main_scores(
    model: GenerativeModel, batches: Iterable[Batch], objects: int, ranks: Ranks = SINGLE_PROCESS
) -> Tensor:
    """(objects,) float64 on the CPU: the main score of each object, in the batches' order; infinite where not finite.

    Several ``ranks`` take the batches in turn, and all get the same numbers.
    """
    name, portions = next(iter(model.scores)), OomSplitter(f"scoring with {type(model).__name__}")
    found, first = torch.zeros(objects, dtype=torch.float64), 0
    for number, batch in enumerate(batches):
        if number % ranks.world == ranks.rank:
            with torch.no_grad(), full_float32(deterministic=True):
                parts = portions.each(batch, lambda part: model.score(part)[name].double())
            found[first : first + len(batch)] = torch.cat(parts).nan_to_num(torch.inf, torch.inf, torch.inf).cpu()
        first += len(batch)
    device = next((value.device for value in model.state_dict().values()), torch.device("cpu"))
    return ranks.total(found.to(device)).cpu()


def highest(scores: Tensor, share: float) -> Tensor:
    """Numbers of the ``share`` of (n,) objects with the highest scores, rounded down, ascending; of equals the last."""
    wanted = int(share * len(scores))
    order = torch.argsort(scores, stable=True)
    return order[len(scores) - wanted :].sort().values


def left_out_facts(fitted: FitResult, data: TrainingSet) -> dict[str, Any]:
    """What a card says of the objects that ``fitted`` is without: how many, of how many, and all of them by tile.

    ``by_tile``: tile -> [row, object id, score] each, the highest score first.
    """
    by_tile: dict[str, list[list[Any]]] = {}
    first = 0
    for cutouts, rows in data.places(Split.TRAIN):
        begin, end = np.searchsorted(fitted.left_out, [first, first + len(rows)])
        own = rows[fitted.left_out[begin:end] - first]
        first += len(rows)
        if not len(own):
            continue
        ids, scores = cutouts.read("object_id")[own], fitted.left_out_scores[begin:end]
        found = by_tile.setdefault(str(cutouts.attributes["tile"]), [])
        # An infinite score is one that the model could not give.
        found += [[int(r), int(i), s if np.isfinite(s) else None] for r, i, s in zip(own, ids, scores, strict=True)]
    for found in by_tile.values():
        found.sort(key=lambda one: (one[2] is not None, -(one[2] or 0.0), one[0]))
    return {"objects": len(fitted.left_out), "of": first, "by_tile": by_tile}
