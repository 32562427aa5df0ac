"""How models are trained: a part of the specification, and what one model may have otherwise. It trains nothing."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from galflow.spec.neighbours import Neighbours
from galflow.spec.part import Part

Precision = Literal["float32", "bf16"]


class TrainingSpec(Part):
    """How models are trained; a model may override any of it."""

    epochs: Annotated[int, Field(ge=1)] = 30
    """Passes over the training split in each of a model's phases, at the most."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Objects per optimiser step."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """Adam's step size; by default each player's own."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """Stop a phase after so many epochs without a better validation loss (single-player phases); none: never."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of objects, by hash of object id, that validates."""
    reference_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.2
    """Share of objects, by hash of object id, whose scores calibrate all others."""
    augment: bool = True
    """Turn and mirror training cutouts (the eight symmetries of the square)."""
    memory_gigabytes: Annotated[float, Field(gt=0)] = 2.0
    """Pixels held in memory by one training; a larger training set is read in pieces, anew each epoch."""
    checkpoint_seconds: Annotated[float, Field(gt=0)] = 60.0
    """At most so much training is lost when a worker dies."""
    neighbours: Neighbours = "keep"
    """What a model sees of other objects in a cutout, in training and in scoring alike: keep all light, mask their
    pixels as missing, or sky: see the cutout's own sky in their place."""
    precision: Precision = "float32"
    """bf16: networks are trained in bfloat16, which GPUs compute faster. Scores and validation stay in float32."""
    compiled: bool = False
    """Compile losses with torch.compile: 10 to 50 s at the start, then quicker steps of most models."""
    workers: Annotated[int, Field(ge=1)] = 1
    """Workers that train one model together, each on its share of every batch. The result is that of one worker but for
    rounding, with two exceptions: numbers that a model draws otherwise than one an object (dropout; permutations), and
    what it takes from the whole batch (the codes of a quantiser that nobody uses)."""
    trim: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    """Share of the training objects that a model leaves out: it is trained, scores what it has learnt from, and is
    trained anew without the highest scores, so that a survey's own anomalies are not learnt. Takes twice the time. Give
    somewhat more than the share of anomalies that you expect, as 0.05."""
    trim_rounds: Annotated[int, Field(ge=1, le=5)] = 1
    """How often what is left out is chosen anew, each time by a model trained without the last choice."""
    seeds: Annotated[int, Field(ge=1, le=10)] = 1
    """Trainings of each model, from other random numbers each (columns <model>_seed2_...): what is said of scores then
    rests on all of them, and their scatter is in its intervals. Three are a good number where it matters."""
    tensorboard: bool = False
    """Write the curves of every training that is made as TensorBoard's event files, with pictures of draws, below the
    model's folder in the store; `tensorboard --logdir ROOT/models` shows them. Needs galflow[tensorboard]."""


class TrainingOverrides(Part):
    """Training settings of one model that differ from the run's."""

    epochs: Annotated[int, Field(ge=1)] | None = None
    """As in `training`."""
    batch_size: Annotated[int, Field(ge=1)] | None = None
    """As in `training`."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """As in `training`."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """As in `training`."""
    augment: bool | None = None
    """As in `training`."""
    neighbours: Neighbours | None = None
    """As in `training`."""
    precision: Precision | None = None
    """As in `training`."""
    compiled: bool | None = None
    """As in `training`."""
    trim: Annotated[float, Field(ge=0, lt=0.5)] | None = None
    """As in `training`."""
    trim_rounds: Annotated[int, Field(ge=1, le=5)] | None = None
    """As in `training`."""
