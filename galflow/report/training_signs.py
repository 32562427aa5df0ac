"""Signs in a model's curves and held-out scores that its training diverged, collapsed or lost its equilibrium.

They are signs, not verdicts: each says which number is where, so that a person can look. A phase with several players
is a game whose losses need not fall; there only the model's own diagnostics and runaway losses are judged. The known
failures of adversarial training are told apart: no equilibrium, a discriminator that saturates, mode collapse, and
samples that are merely not good yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from galflow.training.learning_curve import CurvePoint
from galflow.training.trained_model import TrainedModel

FEWEST_EPOCHS = 4
"""Shorter phases are not judged."""
ROSE_AGAIN = 0.5
"""A loss that lost this share of what it had gained."""
OVERFIT = 0.25
RUNAWAY = 20.0
"""A number in the last tenth of the epochs that is so many times its median over the first half."""
GRADIENT_NORM = (0.5, 2.0)
"""WGAN-GP's penalty holds the critic's gradient norm at 1 (Gulrajani+17)."""
COPIES = 0.3
"""Of an adversarial model's samples; held-out images have next to no such near-copies among them."""
FEW_COVERED = 0.25
"""Held-out images near any sample; samples like the data cover nearly all."""
CROWDED = 0.5
"""Samples as dense around the held-out images as these are themselves have a density of 1."""
SATURATED = 0.98
"""A discriminator that is right so often leaves no doubt to learn from."""
TIED = 0.5
"""A score that is one and the same number for this share of the held-out objects says nothing."""


def training_signs(model: TrainedModel, unexplained: float | None = None) -> list[str]:
    """What to look at in this model's training, in sentences; empty if nothing stands out.

    ``unexplained``: of a model that reconstructs, which share of normal objects' power it leaves in the residual.
    """
    curves = model.card.curves
    signs: list[str] = []
    for phase in sorted({p.phase for p in curves}):
        points = [p for p in curves if p.phase == phase]
        players = list(dict.fromkeys(p.player for p in points))
        for player in players:
            own = [p for p in points if p.player == player]
            if len(own) >= FEWEST_EPOCHS:
                signs += _alone(own, model.card.metrics) if len(players) == 1 else _in_game(own)
    if unexplained is not None and unexplained >= 1:
        signs.append(
            f"its reconstructions of normal objects leave {unexplained:.2g} times the objects' own power: blank sky "
            "would be as near, so it has not learnt what objects look like"
        )
    return signs + _diagnostics(curves) + _sample_signs(curves) + _collapsed_scores(model)


def _alone(own: Sequence[CurvePoint], metrics: dict[str, float]) -> list[str]:
    """A player whose loss should fall. ``metrics`` hold the losses of the epoch whose weights were kept."""
    player, loss = own[0].player, np.array([p.train_loss for p in own])
    kept = metrics.get(f"{player}_train_loss", float(loss[-1]))
    best = int(loss.argmin())
    if kept >= loss[0]:
        return [f"the training loss of {player} did not fall: {loss[0]:.4g} in the first epoch, {kept:.4g} as kept"]
    if kept - loss[best] > ROSE_AGAIN * (loss[0] - loss[best]):
        return [
            f"the training loss of {player} rose again, from {loss[best]:.4g} in epoch {own[best].epoch} to {kept:.4g}"
        ]
    held = [(p.epoch, p.validation_loss) for p in own if p.validation_loss is not None]
    if not held:
        return []
    epoch, lowest = min(held, key=lambda pair: pair[1])
    now = metrics.get(f"{player}_validation_loss", held[-1][1])
    if now - lowest > OVERFIT * max(held[0][1] - lowest, 0.0) and now > lowest:
        return [
            f"{player} learns its training objects by heart: the validation loss was lowest in epoch {epoch} "
            f"({lowest:.4g}) and is {now:.4g} as kept"
        ]
    return []


def _in_game(own: Sequence[CurvePoint]) -> list[str]:
    ratio, early, late = _growth(np.array([abs(p.train_loss) for p in own]))
    if ratio <= RUNAWAY:
        return []
    return [f"the loss of {own[0].player} runs away: its size went from {early:.3g} to {late:.3g}"]


def _growth(sizes: npt.NDArray[np.float64]) -> tuple[float, float, float]:
    """Median of the last tenth over that of the first half, and both."""
    early = float(np.median(sizes[: max(1, len(sizes) // 2)]))
    late = float(np.median(sizes[-max(1, len(sizes) // 10) :]))
    return late / max(early, 1e-12), early, late


def _diagnostics(curves: Sequence[CurvePoint]) -> list[str]:
    """What the model's own numbers say, over the first phase that has them."""
    signs = []
    for name in dict.fromkeys(n for p in curves for n in p.diagnostics):
        finite, epochs = _course(curves, name)
        words = name.replace("_", " ")
        if len(finite) < epochs:
            signs.append(f"{words} was not finite in {epochs - len(finite)} of {epochs} epochs")
        if len(finite) >= FEWEST_EPOCHS:
            signs += _diagnostic(name, words, finite)
    return signs


def _course(curves: Sequence[CurvePoint], name: str) -> tuple[npt.NDArray[np.float64], int]:
    """A diagnostic's finite values in the first phase that has it, and how many epochs that phase gave one."""
    phase = min((p.phase for p in curves if name in p.diagnostics), default=0)
    by_epoch = {p.epoch: p.diagnostics[name] for p in curves if p.phase == phase and name in p.diagnostics}
    return np.array([v for v in by_epoch.values() if v is not None], dtype=np.float64), len(by_epoch)


def _late(values: npt.NDArray[np.float64]) -> float:
    """Median over the last quarter."""
    return float(np.median(values[-max(1, len(values) // 4) :]))


def _sample_signs(curves: Sequence[CurvePoint]) -> list[str]:
    """Mode collapse of an adversarial model, or samples that do not reach the data; see models/gan_diagnostics.py."""
    courses = {name: _course(curves, name)[0] for name in ("near_duplicates", "coverage", "density")}
    if min(len(values) for values in courses.values()) < FEWEST_EPOCHS:
        return []
    copies, coverage, density = (_late(values) for values in courses.values())
    if copies >= COPIES:
        return [f"mode collapse: {copies:.0%} of the samples are near-copies of another sample"]
    if coverage >= FEW_COVERED:
        return []
    if density >= CROWDED:
        return [
            f"mode collapse: the samples crowd around a few kinds of objects (density {density:.2g}), and only "
            f"{coverage:.0%} of the held-out ones have a sample near them"
        ]
    return [
        f"only {coverage:.0%} of the held-out objects have a sample near them (density {density:.2g}): the samples do "
        "not look like the data yet; train longer, or on more objects"
    ]


def _diagnostic(name: str, words: str, values: npt.NDArray[np.float64]) -> list[str]:
    late = _late(values)
    if name == "critic_gap":
        ratio, before, after = _growth(np.abs(values))
        if ratio > RUNAWAY:
            return [f"{words} grows without bound ({before:.3g} to {after:.3g}): the players have no equilibrium"]
        if late <= 0:
            return [f"{words} is {late:.3g}: the critic does not tell real from fake, so its features mean little"]
    if name == "gradient_norm" and not GRADIENT_NORM[0] <= late <= GRADIENT_NORM[1]:
        return [f"{words} is {late:.3g}, where the penalty should hold it near 1: the critic has not settled"]
    if name == "discriminator_accuracy" and late >= SATURATED:
        return [
            f"the discriminator saturates: it tells {late:.0%} of real and fake images apart, so the generator learns "
            "little from it; lower its learning rate, or use WGAN-GP"
        ]
    if name == "generator_gradient":
        ratio, before, after = _growth(values)
        if ratio > RUNAWAY:
            return [f"{words} grows without bound ({before:.3g} to {after:.3g}): the players have no equilibrium"]
    if name == "active_latents" and late < 1:
        return ["no latent is in use (posterior collapse): every object gets the same reconstruction"]
    return []


def _collapsed_scores(model: TrainedModel) -> list[str]:
    signs = []
    for score in model.card.scores:
        values = model.reference[score]
        _, counts = np.unique(values, return_counts=True)
        share = counts.max(initial=0) / max(1, len(values))
        if len(values) > 1 and share >= TIED:
            signs.append(f"{share:.0%} of the held-out objects have the same {score}: the score has collapsed")
    return signs
