"""Which score ranks: on made scores, of which it is known what they find."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from galflow.errors import SpecError
from galflow.scores.evidence import Trial, choose_rule
from galflow.scores.joining import joined_rules
from galflow.scores.rule import RankingRule, Term, placed

KINDS = ("bright", "dim", "other")
OBJECTS, COPIES = 800, 60


def made(seed: int, shifts: dict[str, tuple[float, float, float]]) -> Trial:
    """Scores by name, each with the shift in sigmas that it has on each kind."""
    rng = np.random.default_rng([seed, 99])
    kind = np.repeat(np.asarray(KINDS, dtype=object), COPIES)
    original = np.concatenate([rng.permutation(OBJECTS)[:COPIES] for _ in KINDS])
    objects = {name: rng.normal(size=OBJECTS) for name in shifts}
    copies = {name: rng.normal(size=len(kind)) + np.repeat(by_kind, COPIES) for name, by_kind in shifts.items()}
    return Trial(objects, copies, original, kind, {"brightness": objects[next(iter(shifts))] ** 3})


def test_the_score_that_finds_most_ranks_whatever_its_place() -> None:
    shifts = {"first": (0.2, 0.2, 0.2), "best": (3.0, 3.0, 3.0), "last": (0.5, 0.0, 0.5)}
    for names in (("first", "best", "last"), ("last", "best", "first")):
        found = choose_rule(made(1, {name: shifts[name] for name in names}), None, 0, joined=False)
        assert found.chosen == RankingRule.of("best")
        assert "best ranks: of all scores it finds most" in found.why
        losers = [v.rule.name for v in found.verdicts]
        assert set(losers) == {*shifts, *(f"|{name}|" for name in shifts)}
        assert losers[0] == "best"


def test_a_verdict_is_of_the_half_that_did_not_choose() -> None:
    trial = made(2, {"a": (2.0, -2.0, 1.0), "b": (0.0, 0.0, 0.0)})
    found = choose_rule(trial, None, 5)
    (verdict,) = (v for v in found.verdicts if v.rule == RankingRule.of("a"))
    chosen = np.zeros(OBJECTS, bool)
    chosen[np.random.default_rng([5, 1]).permutation(OBJECTS)[: OBJECTS // 2]] = True
    judging = ~chosen[trial.original]
    for kind in KINDS:
        own = judging & (trial.kind == kind)
        scores = np.concatenate([trial.objects["a"][~chosen], trial.copies["a"][own]])
        labels = np.arange(len(scores)) >= (~chosen).sum()
        assert verdict.by_kind[kind] == pytest.approx(roc_auc_score(labels, scores))
    assert verdict.auroc == pytest.approx(np.mean(list(verdict.by_kind.values())))
    assert verdict.low < verdict.auroc < verdict.high
    assert verdict.correlations["brightness"] == pytest.approx(1.0)
    json.dumps(found.to_json(), allow_nan=False)


def test_what_is_too_simple_is_found_by_a_score_that_counts_on_both_sides() -> None:
    found = choose_rule(made(3, {"a": (4.0, -4.0, -4.0)}), None, 0)
    assert found.chosen == RankingRule((Term("a", two_sided=True),))
    one_sided = next(v for v in found.verdicts if v.rule == RankingRule.of("a"))
    assert one_sided.by_kind["dim"] < 0.05
    assert found.verdicts[0].by_kind["dim"] > 0.95


def test_a_score_counts_on_both_sides_only_where_that_wins_by_more_than_chance() -> None:
    positive = made(8, {"a": (3.0, 3.0, 3.0)})
    objects = {"a": np.abs(positive.objects["a"])}
    other = np.flatnonzero(positive.kind == "other")
    found = {}
    for too_simple in (3, 30):
        copies = np.abs(positive.copies["a"])
        copies[other[:too_simple]] = -3.0
        found[too_simple] = choose_rule(Trial(objects, {"a": copies}, positive.original, positive.kind, {}), None, 0)
        merits = {verdict.rule.name: verdict.chosen_by for verdict in found[too_simple].verdicts}
        assert merits["|a|"] > merits["a"]
    assert found[3].chosen == RankingRule.of("a")
    assert found[3].why.startswith("a ranks: no score finds, beyond chance, more of the painted anomalies")
    assert found[30].chosen == RankingRule((Term("a", two_sided=True),))


def test_scores_that_see_different_kinds_are_joined_and_alike_ones_are_not() -> None:
    apart = choose_rule(made(4, {"a": (4.0, 0.0, 0.0), "b": (0.0, 4.0, 0.0), "c": (0.0, 0.0, 4.0)}), None, 0)
    assert set(apart.chosen.columns) == {"a", "b", "c"}
    assert "beyond chance" in apart.why
    assert apart.verdicts[0].auroc > max(v.auroc for v in apart.verdicts if len(v.rule.terms) == 1) + 0.1
    alike = made(5, {"a": (3.0, 3.0, 3.0)})
    twice = Trial(
        alike.objects | {"b": alike.objects["a"]},
        alike.copies | {"b": alike.copies["a"]},
        alike.original,
        alike.kind,
        {},
    )
    assert len(choose_rule(twice, None, 0).chosen.terms) == 1


def test_learnt_weights_are_judged_on_kinds_that_they_have_not_seen() -> None:
    """A score that sees one kind alone gets no credit on it from having been taught it."""
    trial = made(6, {"a": (3.0, 3.0, 3.0), "only": (0.0, 0.0, 9.0)})
    singles = [RankingRule.of("a"), RankingRule.of("only")]
    (learnt,) = [j for j in joined_rules(trial.objects, trial.copies, trial.kind, singles) if "sum of" in j.rule.name]
    weights = {term.column: term.weight for term in learnt.rule.terms}
    other = trial.kind == "other"
    seen = placed(learnt.rule.values(trial.objects), learnt.rule.values(trial.copies))
    assert weights.get("only", 0.0) > 0
    assert learnt.places[other].mean() < seen[other].mean()


def test_a_declared_score_ranks_and_the_others_are_shown() -> None:
    found = choose_rule(made(7, {"a": (0.0, 0.0, 0.0), "b": (3.0, 3.0, 3.0)}), "a", 0)
    assert found.chosen == RankingRule.of("a")
    assert found.why == "a ranks, as scoring.primary declares."
    assert found.verdicts[0].auroc > 0.9


def test_rules_say_what_they_do() -> None:
    sigma = {"a": np.array([1.0, -3.0, np.nan]), "b": np.array([2.0, 1.0, 1.0])}
    both = RankingRule((Term("a", True, 0.5), Term("b", False, 0.5)))
    np.testing.assert_allclose(both.values(sigma)[:2], [0.5 * np.arcsinh(1) + 0.5 * np.arcsinh(2),
                                                        0.5 * np.arcsinh(3) + 0.5 * np.arcsinh(1)])  # fmt: skip
    assert np.isnan(both.values(sigma)[2])
    assert both.name == "mean of |a|, b"
    assert RankingRule(both.terms, "max").name == "largest of |a|, b"
    np.testing.assert_array_equal(RankingRule(both.terms, "max").values(sigma)[:2], [2.0, 3.0])
    np.testing.assert_array_equal(RankingRule.of("b").values(sigma), sigma["b"])
    assert RankingRule((Term("a", False, 0.25), Term("b", False, 0.75))).name == "sum of 0.25 a, 0.75 b"
    for rule in (both, RankingRule(both.terms, "max"), RankingRule.of("a")):
        assert RankingRule.from_json(json.loads(json.dumps(rule.to_json()))) == rule
    with pytest.raises(SpecError, match="at least one score"):
        RankingRule(())


def test_trainings_of_one_model_compete_as_one_score_and_their_scatter_is_in_the_interval() -> None:
    shifts = {"vae_a": (1.0, 1.0, 1.0), "vae_seed2_a": (2.0, 2.0, 2.0), "vae_seed3_a": (3.0, 3.0, 3.0)}
    found = choose_rule(made(4, shifts), None, 0, joined=False)
    assert found.chosen == RankingRule.mean(["vae_a", "vae_seed2_a", "vae_seed3_a"])
    assert found.chosen.name == "vae_a, mean of 3 trainings"
    assert {v.rule.name for v in found.verdicts} == {"vae_a, mean of 3 trainings", "|vae_a|, mean of 3 trainings"}
    verdict = found.verdicts[0]
    assert len(verdict.by_training) == 3
    assert verdict.by_training[0] < verdict.by_training[1] < verdict.by_training[2]
    assert verdict.high - verdict.low > np.ptp(verdict.by_training)
    assert verdict.agreement is not None
    assert -1 <= verdict.agreement <= 1
    declared = choose_rule(made(4, shifts), "vae_a", 0)
    assert declared.chosen == found.chosen
