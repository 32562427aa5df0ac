"""The order of a run's objects: one pass over the score parts, by the run's rule, and what a file's rows get of it.

Nothing of an object is kept but the number that ranks. Objects that a model learnt from are ranked with all others, and
have neither a p-value nor a q-value: those compare with objects that no training has seen.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from galflow.catalog.parquet import read_columns
from galflow.cutouts.flags import Flag, has_flag
from galflow.cutouts.splits import Split
from galflow.errors import DataError
from galflow.scores.alike import Alike
from galflow.scores.calibration import PValueCounts, Reference, calibrated, conformal_p
from galflow.scores.false_discoveries import false_share
from galflow.scores.mask_levels import MaskLevels
from galflow.scores.part_columns import SHARES, floats, shares_of_part
from galflow.scores.reference_trimming import trimmed_reference
from galflow.scores.rule import RankingRule
from galflow.scores.tail import ParetoTail
from galflow.scores.tile_levels import TileLevels
from galflow.scores.triage_features import LIGHT_AND_SIZE, measured_of_part
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store

ANOMALY = "anomaly_score"
"""The column that ranks; its sigma and p begin with the same words."""


@dataclass(frozen=True, eq=False)
class RunRanking:
    """All that a row needs to be placed among the objects of a run."""

    rule: RankingRule
    levels: TileLevels
    masks: MaskLevels
    values: np.ndarray
    """(n,) what ranks, of every object that has it, sorted."""
    reference: np.ndarray
    """(r,) the same of the held-out normal objects, sorted, without those that were left out."""
    left_out: int
    """Held-out objects that were taken for anomalies: what ranks of them lies beyond all of the reference."""
    p_counts: PValueCounts
    """Of the objects that no model of the rule has learnt from."""
    false_share: np.ndarray
    """(r + 1,) of galflow.scores.false_discoveries."""
    tail: ParetoTail | None
    """Beyond the most extreme held-out objects; None: too few to fit one."""
    tail_values: np.ndarray
    """(t,) what ranks, sorted, of the objects beyond the tail's threshold that no model of the rule has learnt from."""
    tail_q: np.ndarray
    """(t,) their q-values by the tail's p-values."""
    alike: Alike
    """Held-out objects by light and size."""

    def columns(self, part: pa.Table) -> dict[str, pa.Array]:
        """The columns of a part's rows: anomaly, its sigma and p, rank and q. Rank and q are those of objects alone."""
        value, sigma, p = self._judged(part)
        good = np.isfinite(sigma)
        q, false = np.full((2, len(part)), np.nan)
        unseen = good & ~_learnt(part, self.rule)
        objects = _objects(part) & good
        counted = objects & unseen
        q[counted] = self.p_counts.q_values(p[counted])
        false[counted] = self.false_share[np.rint(p[counted] * len(self.false_share)).astype(np.int64) - 1]
        alike = self.alike.p_values(_light_and_size(part), value)
        tail_p, tail_q = self._by_tail(value, p, q, counted)
        return {
            ANOMALY: pa.array(value, mask=~good),
            f"{ANOMALY}_sigma": pa.array(sigma, mask=~good),
            f"{ANOMALY}_p": pa.array(p, mask=~unseen),
            "anomaly_rank": pa.array(self._ranks(value, objects), pa.int64(), mask=~objects),
            "anomaly_q": pa.array(q, mask=~counted),
            "anomaly_fdp": pa.array(false, mask=~counted),
            "anomaly_alike_p": pa.array(alike, mask=~(unseen & np.isfinite(alike))),
            "anomaly_tail_p": pa.array(tail_p, mask=~(unseen & np.isfinite(tail_p))),
            "anomaly_tail_q": pa.array(tail_q, mask=~(counted & np.isfinite(tail_q))),
        }

    def ranks(self, part: pa.Table) -> np.ndarray:
        """(n,) rank of each of a part's rows among all objects, 1 the most anomalous; 0 of rows that have none."""
        value, sigma, _ = self._judged(part)
        return self._ranks(value, _objects(part) & np.isfinite(sigma))

    def _judged(self, part: pa.Table) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(n,) what ranks, its sigma and its p.

        Held-out objects that are all alike give no sigma: the models' own are null then too, with the reason.
        """
        value = self.levels.levelled(_ranked_values(part, self.rule, self.masks), part)
        sigma, p, _ = calibrated(value, Reference(ANOMALY, self.reference))
        return value, sigma, p

    def _ranks(self, value: np.ndarray, ranked: np.ndarray) -> np.ndarray:
        rank = 1 + len(self.values) - np.searchsorted(self.values, value, side="right")
        return np.where(ranked, rank, 0)

    def _by_tail(
        self, value: np.ndarray, p: np.ndarray, q: np.ndarray, counted: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """(n,) p and q by the fitted tail; below its threshold as they are, and NaN without a tail."""
        if self.tail is None:
            return np.full_like(p, np.nan), np.full_like(q, np.nan)
        tail_p, tail_q = p.copy(), q.copy()
        beyond = value > self.tail.threshold
        tail_p[beyond] = self.tail.p_values(value[beyond])
        beyond &= counted
        tail_q[beyond] = self.tail_q[np.searchsorted(self.tail_values, value[beyond])]
        return tail_p, tail_q

    def to_files(self) -> dict[str, bytes]:
        """As it lies in the catalogue's supplement."""
        said = {
            "rule": self.rule.to_json(),
            "levels": self.levels.to_json(),
            "masks": self.masks.to_json(),
            "left_out": self.left_out,
            "p_counts": self.p_counts.to_json(),
            "tail": None if self.tail is None else self.tail.to_json(),
        }
        stored = [self.values, self.reference, self.false_share, self.tail_values, self.tail_q]
        stored += [self.alike.covariates, self.alike.values]
        arrays = dict(zip(FILES[1:], stored, strict=True))
        return {FILES[0]: json.dumps(said).encode()} | {name: _packed(a) for name, a in arrays.items()}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> RunRanking:
        """The inverse of ``to_files``."""
        said = json.loads(files[FILES[0]])
        arrays = [_unpacked(files[name]) for name in FILES[1:]]
        values, reference, false_share, tail_values, tail_q, covariates, of_alike = arrays
        return cls(
            RankingRule.from_json(said["rule"]),
            TileLevels.from_json(said["levels"]),
            MaskLevels.from_json(said["masks"]),
            values,
            reference,
            said.get("left_out", 0),
            PValueCounts.from_json(said["p_counts"]),
            false_share,
            None if said["tail"] is None else ParetoTail.from_json(said["tail"]),
            tail_values,
            tail_q,
            Alike(covariates, of_alike),
        )


FILES = (
    "ranking.json", "ranked_scores.npy", "ranked_reference.npy", "false_share.npy", "tail_scores.npy", "tail_q.npy",
    "alike_light_and_size.npy", "alike_scores.npy",
)  # fmt: skip


def _packed(values: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def _unpacked(data: bytes) -> np.ndarray:
    return np.asarray(np.load(io.BytesIO(data), allow_pickle=False))


def _ranked_values(part: pa.Table, rule: RankingRule, masks: MaskLevels) -> np.ndarray:
    """(n,) what the rule gives a part's rows, masked ones as if they were whole; NaN where a score is null."""
    values = rule.values({name: floats(part, f"{name}_sigma") for name in rule.columns})
    return masks.levelled(values, shares_of_part(part))


def columns_that_rank(rule: RankingRule, masks: MaskLevels) -> list[str]:
    """The columns of a score part that ``RunRanking.ranks`` needs."""
    shares = [f"{SHARES}{number}" for number in range(masks.shares.shape[1])]
    return ["is_primary", "tile", "flags", *(f"{column}_sigma" for column in rule.columns), *shares]


def _light_and_size(part: pa.Table) -> np.ndarray:
    """(n, 2) logarithms of a part's rows, NaN where nothing was measured."""
    found = measured_of_part(part.select([name for name in LIGHT_AND_SIZE if name in part.column_names]))
    return found if found.shape[1] == len(LIGHT_AND_SIZE) else np.full((len(part), len(LIGHT_AND_SIZE)), np.nan)


def _objects(part: pa.Table) -> np.ndarray:
    """(n,) whether a row stands for an object of the sky: a primary row, and no planted copy."""
    planted = has_flag(part.column("flags").to_numpy(), Flag.PLANTED)
    return np.asarray(part.column("is_primary").to_numpy() & ~planted)


def _learnt(part: pa.Table, rule: RankingRule) -> np.ndarray:
    """(n,) whether one of the rule's models has learnt from a row's object: then its score has no p-value."""
    missing = [np.isnan(floats(part, f"{c}_p")) & np.isfinite(floats(part, f"{c}_sigma")) for c in rule.columns]
    return np.logical_or.reduce(missing)


def rank_objects(
    store: Store,
    parts: Sequence[Receipt],
    rule: RankingRule,
    stated: np.ndarray | None,
    masks: MaskLevels | None = None,
    trim_reference: float = 0.0,
) -> tuple[RunRanking, tuple[str, ...]]:
    """The ranking of all objects of these parts, and what is to be said of ids that several objects share.

    ``stated``: (r,) what the rule gives a model's own held-out objects, for a survey that holds out none.
    ``trim_reference``: share of the held-out objects that may be left out as anomalies. Of a part a few columns are
    read; its file is compared with its checksum when it is read whole. DataError where no object could be compared with
    any held-out one.
    """
    masks = masks or MaskLevels.none()
    names = ["object_id", "split", *columns_that_rank(rule, masks), *(f"{c}_p" for c in rule.columns)]
    values, unseen, held_out, tiles, ids = [np.zeros(0)], [np.zeros(0, bool)], [], [], [np.zeros(0, np.uint64)]
    covariates = [np.zeros((0, len(LIGHT_AND_SIZE)))]
    for part in parts:
        if not part.rows:
            continue
        with store.reading(part.product) as file:
            table = read_columns(file, store.uri(part.product), [*names, *LIGHT_AND_SIZE])
        is_object = _objects(table)
        found = _ranked_values(table, rule, masks)
        counted = is_object & np.isfinite(found)
        values.append(found[counted])
        unseen.append(~_learnt(table, rule)[counted])
        is_reference = pc.fill_null(pc.equal(table.column("split"), str(Split.REFERENCE)), False).to_numpy()
        held_out.append(found[is_reference & counted])
        covariates.append(_light_and_size(table)[is_reference & counted])
        tiles.append((table.column("tile")[0].as_py(), int(counted.sum())))
        ids.append(table.column("object_id").to_numpy()[is_object].view(np.uint64))
    levels = TileLevels.of({tile: values for (tile, _), values in zip(tiles, held_out, strict=True)})
    shifts = np.array([levels.of_tile(tile) for tile, _ in tiles])
    every = np.concatenate(values) - np.repeat(shifts, [count for _, count in tiles])
    reference = np.concatenate([v - shift for v, shift in zip(held_out, shifts, strict=True)] or [np.zeros(0)])
    alike = Alike.of(np.concatenate(covariates), reference)
    if not len(reference) and stated is not None:
        reference = stated
    if not len(reference):
        raise DataError(
            "no held-out normal object has a score, so nothing can be calibrated; hold out more "
            "(training.reference_fraction), or give more tiles"
        )
    held_out_all, tested = np.sort(reference), np.sort(every[np.concatenate(unseen)])
    reference = trimmed_reference(held_out_all, trim_reference)
    counts = PValueCounts.empty(len(reference)).add(conformal_p(tested, Reference(ANOMALY, reference)))
    tail = ParetoTail.of(reference)
    beyond, tail_q = _tail_q(tail, tested, counts, reference)
    ranking = RunRanking(
        rule, levels, masks, np.sort(every), reference, len(held_out_all) - len(reference),
        counts, false_share(counts), tail, beyond, tail_q, alike,
    )  # fmt: skip
    return ranking, _shared(np.concatenate(ids))


def _tail_q(
    tail: ParetoTail | None, tested: np.ndarray, counts: PValueCounts, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of (n,) sorted values those beyond the tail's threshold, (t,), and their q-values (Benjamini & Hochberg 1995).

    A q-value is the least of p * n / rank down to a value and further down; below the threshold conformal p-values go
    on with it.
    """
    if tail is None:
        return np.zeros(0), np.zeros(0)
    first = int(np.searchsorted(tested, tail.threshold, side="right"))
    beyond = tested[first:]
    as_high = len(tested) - np.searchsorted(tested, beyond, side="left")
    steps = tail.p_values(beyond) * len(tested) / as_high
    further = counts.q_values(conformal_p(tested[first - 1 : first], Reference(ANOMALY, reference))) if first else [1.0]
    return beyond, np.minimum.accumulate(np.concatenate([further, steps]))[1:]


def _shared(ids: np.ndarray) -> tuple[str, ...]:
    shared = int((np.diff(np.sort(ids)) == 0).sum())
    told = (
        f"{shared} objects have an id that another object of another tile has too; the column tile tells them apart. "
        "Declare catalog.ids_per_tile: true if each tile counts its own"
    )
    return (told,) if shared else ()
