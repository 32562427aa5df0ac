"""Deliberate faults, each of which some test must notice: own list, one small change each.

A fault is a text that occurs once in its file, and what stands there instead. Where a refactoring moves the text, move
the fault with it (tests/mutants/test_mutants.py says which); where a fault lives, write the missing test.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """One fault."""

    file: str
    source: str
    fault: str
    breaks: str
    """What it does to a user."""
    tests: tuple[str, ...]
    """What pytest is to run: the smallest part that must notice."""


CUTOUTS, SCORES, CATALOG = (f"tests/galflow/{room}" for room in ("cutouts", "scores", "catalog"))
SURVEYS = "tests/galflow/surveys/reading"
MATCHED = "tests/galflow/compare/test_matched.py"
_JOINS = (f"{CUTOUTS}/test_matching.py", f"{CUTOUTS}/test_joins.py")
_SPLITS = (f"{CUTOUTS}/test_splits.py",)
_IDENTITIES = (f"{CUTOUTS}/test_identities.py",)
_ASSIGN = (f"{CUTOUTS}/test_assign.py",)
_FLAGS = (f"{CUTOUTS}/test_flags.py", f"{CUTOUTS}/test_splits.py")
_CUT = (f"{CUTOUTS}/test_cut.py",)
_PLACES = (f"{SURVEYS}/test_places.py",)
_SKY = (f"{SURVEYS}/test_sky.py", f"{SURVEYS}/test_sky_observed.py")
_DETECTION = (f"{SURVEYS}/test_detection_limits.py", f"{SURVEYS}/test_detection.py")
_CALIBRATION = (f"{SCORES}/test_calibration.py",)
_SCORE = (f"{SCORES}/test_score.py",)
_SUMMARY = (f"{SCORES}/test_summary.py",)
_PLAN = ("tests/galflow/runs/test_plan.py",)
_FINDINGS = ("tests/galflow/report/test_findings.py",)
_DIFFERENCE = (f"{CATALOG}/test_difference.py",)
_SCHEMA = (f"{CATALOG}/test_schema.py",)
FILES = "galflow/catalog/files.py"
_PUBLISHED = (f"{CATALOG}/test_published.py",)
_RANKING = (f"{CATALOG}/test_ranking.py",)
_CHECK = ("tests/galflow/runs/test_check.py",)

MATCHING, JOINS, PUBLISHED = (
    f"galflow/{name}.py" for name in ("cutouts/matching", "cutouts/joins", "catalog/published")
)
DIFFERENCE, PLAN, FLAGS = (f"galflow/{name}.py" for name in ("catalog/difference", "runs/plan", "cutouts/flags"))
IDENTITIES, SPLITS, ASSIGN = (f"galflow/cutouts/{name}.py" for name in ("identities", "splits", "assign"))
CALIBRATION, SCORE, PARTS = (f"galflow/scores/{name}.py" for name in ("calibration", "score", "part_columns"))
FRACTIONS, COLUMNS = "galflow/scores/fractions.py", "galflow/catalog/own_columns.py"
RANKING, CHOICE = "galflow/catalog/ranking.py", "galflow/scores/ranking.py"
SUMMARY, FINDINGS, SCHEMA = "galflow/scores/summary.py", "galflow/report/findings.py", "galflow/catalog/schema.py"
SKY, DETECTION, PLACES = (f"galflow/surveys/reading/{name}.py" for name in ("sky", "detection", "places"))
CUT, CUTTING, CHECK_SURVEY = "galflow/cutouts/cut.py", "galflow/cutouts/cutting.py", "galflow/runs/check_survey.py"
PLAN_CUTOUTS, POSITIONS = "galflow/runs/plan_cutouts.py", "galflow/surveys/reading/positions.py"

MUTANTS: tuple[Mutant, ...] = (
    # What 34 faults of an earlier release left alive.
    Mutant(
        "galflow/compare/matched.py", "seed=matching.seed, paired=True\n    )\n\n\ndef _of_halves",
        "seed=matching.seed\n    )\n\n\ndef _of_halves", "matched p-values exchange across cells", (MATCHED,),
    ),
    Mutant(
        "galflow/compare/populations.py", "    if held_out:\n", "    if False:\n", "learnt objects are compared",
        ("tests/tasks/test_stages.py",),
    ),
    Mutant(
        "galflow/compare/populations.py", "NOT_NORMAL | INCOMPLETE", "NOT_NORMAL", "incomplete objects are compared",
        ("tests/tasks/test_stages.py",),
    ),
    Mutant(RANKING, "self.p_counts.q_values(p[counted])", "p[counted]", "anomaly_q is p", _PUBLISHED),
    Mutant(
        PLAN, "survey = scores if spec.ratios or matching else ()", "survey = ()", "the comparison forgets the survey",
        _PLAN,
    ),
    Mutant(
        FLAGS, "Flag.SATURATED | Flag.TRAIL | Flag.CONSTANT", "Flag.SATURATED | Flag.CONSTANT", "trails are learnt",
        _FLAGS,
    ),
    Mutant(DIFFERENCE, "before.dec_deg, after.ra_deg, after.dec_deg)", "0.0 * before.dec_deg, after.ra_deg, "
           "after.dec_deg - before.dec_deg)", "separations without cos(dec)", _DIFFERENCE),
    Mutant(SKY, "_SOURCE_SIGMA = 4.0", "_SOURCE_SIGMA = 40.0", "faint sources are sky", _SKY),
    Mutant(DETECTION, "_KRON_FACTOR = 2.5", "_KRON_FACTOR = 2.0", "Kron fluxes lose light", _DETECTION),
    Mutant(
        "tasks/worker_jobs.py", "_PROGRESS_SECONDS = 1.0", "_PROGRESS_SECONDS = 0.0",
        "each step is told to the scheduler",
        ("tests/tasks/test_telling.py",),
    ),
    Mutant(
        "tasks/progress.py", "> _ARTIFACT_SECONDS", "> -1.0", "each unit is told to Prefect's server",
        ("tests/tasks/test_progress.py",),
    ),
    Mutant(
        "tasks/progress.py", "self._told_percent + _ARTIFACT_PERCENT", "self._told_percent",
        "calls grow with the units", ("tests/tasks/test_progress.py",),
    ),
    # Joins.
    Mutant(POSITIONS, "np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra)", "np.cos(ra), np.sin(ra)",
           "directions without cos(dec)", (f"{SURVEYS}/test_positions.py",)),
    Mutant(MATCHING, "rows = rows[back[nearest[rows]] == rows]", "rows = rows[:]",
           "matches need not be mutual", _JOINS),
    Mutant(MATCHING, "-depth, ~scorable", "depth, ~scorable", "the shallowest row is primary", _JOINS),
    Mutant(MATCHING, "-depth, ~scorable", "-depth", "a row without pixels is primary", _JOINS),
    Mutant(MATCHING, "CUT_RADII = 3.0", "CUT_RADII = 0.0", "what an edge left is an object", _JOINS),
    Mutant(MATCHING, "return mine | unclaimed.intersection(loose.get(row, ()))", "return mine",
           "parted objects stay two", _JOINS),
    Mutant(MATCHING, "and tile_of[other] not in tiles", "", "two rows of one tile are one object", _JOINS),
    Mutant(MATCHING, "max(tiles[i].radius_arcsec, tiles[j].radius_arcsec)", "0.01", "nothing matches", _JOINS),
    Mutant(MATCHING, "np.minimum.at(least, i[near], values[j[near]])", "pass", "splits part neighbours", _JOINS),
    Mutant(JOINS, "kept[placed[new]] = table", "_ = table", "a new release renames objects", _JOINS),
    Mutant(JOINS, "direction[~counts] = np.nan", "pass", "planted copies are matched", _JOINS),
    Mutant(JOINS, "return rows.own_primary & rows.counts", "return rows.counts",
           "the survey's own primary flags are ignored", _JOINS),
    Mutant(JOINS, "sorted(others))", "[])", "a changed neighbour leaves a join as it was", _JOINS),
    Mutant(JOINS, "return own & rows.counts", "return own | rows.counts", "every row is primary", _JOINS),
    Mutant(PLACES, "radii.max(), np.pi)", "radii.min(), np.pi)", "large tiles have no small neighbours", _PLACES),
    Mutant(PLACES, "radii[chosen] + radii[i] -", "radii[chosen] -", "overlapping tiles are no neighbours", _PLACES),
    # Identities and splits.
    Mutant(IDENTITIES, "Flag.PLANTED | Flag.DUPLICATE_ID)", "Flag.PLANTED)",
           "rows that repeat an id are primary", _IDENTITIES),
    Mutant(IDENTITIES, "column.fill_null(True)", "column.fill_null(False)",
           "rows without a flag are second", _IDENTITIES),
    Mutant(IDENTITIES, "np.uint64(27))) *", "np.uint64(28))) *", "splits change with the version", _IDENTITIES),
    Mutant(IDENTITIES, "primary &= own", "pass", "own primary flags are ignored in one tile", _IDENTITIES),
    Mutant(SPLITS, ">= side\n", ">= 0\n", "close objects on two sides", _SPLITS),
    Mutant(SPLITS, "& cutouts.join.is_primary", "", "second rows are learnt", _SPLITS),
    Mutant(SPLITS, "u >= validation + reference)", "u >= reference)", "shares are not those asked for", _SPLITS),
    Mutant(SPLITS, "_SIDES = (Split.VALIDATION, Split.REFERENCE, Split.TRAIN)",
           "_SIDES = (Split.REFERENCE, Split.VALIDATION, Split.TRAIN)", "the wrong rows calibrate", _SPLITS),
    # Assignment of a survey-wide catalogue.
    Mutant(ASSIGN, "(inner > depth[near])", "(inner > 0)", "the last tile takes all", _ASSIGN),
    Mutant(ASSIGN, "width - 0.5 - x), np", "width - x), np", "edges are half a pixel off", _ASSIGN),
    Mutant(FLAGS, "again[first] = False", "again[:] = False", "repeated ids go unseen", _ASSIGN),
    # Flags.
    Mutant(FLAGS, "seen < minimum_observed", "seen < 0", "empty cutouts are scored", _FLAGS),
    Mutant(FLAGS, "(Plane.SATURATED, Flag.SATURATED)", "(Plane.BAD, Flag.SATURATED)", "saturation goes unseen", _FLAGS),
    Mutant(FLAGS, "> 2 * np.maximum(centre, 0)", "> 4 * np.maximum(centre, 0)", "bright neighbours go unseen", _FLAGS),
    Mutant(FLAGS, "flags[partial] |= Flag.MISSING_PIXELS", "pass", "missing pixels go unseen", _FLAGS),
    Mutant(FLAGS, "~np.all(bands_seen, axis=1)", "~np.any(bands_seen, axis=1)", "a missing band goes unseen", _FLAGS),
    Mutant(CUTTING, "self._reference.flux.shape) & self._placed] |= Flag.EDGE",
           "self._reference.flux.shape) & self._placed] |= 0", "cutouts at the edge go unseen", _CUT),
    Mutant(CUTTING, "flags[non_finite] |= Flag.NON_FINITE", "pass", "NaN pixels go unseen", _CUT),
    Mutant(CUT, "tile.identity,\n        list", "tile.name,\n        list", "a changed tile stays as it was", _CUT),
    # Scores and calibration.
    Mutant(CALIBRATION, "(1.0 + (len(reference) - below))", "(len(reference) - below)", "p can be 0", _CALIBRATION),
    Mutant(CALIBRATION, 'scores, "scores"), side="left")\n    return np.asarray((',
           'scores, "scores"), side="right")\n    return np.asarray((', "a tie counts for the anomaly", _CALIBRATION),
    Mutant("galflow/constants.py", "SIGMA_PER_MAD = 1.4826", "SIGMA_PER_MAD = 1.0", "sigmas are MADs", _CALIBRATION),
    Mutant(CALIBRATION, "grid * total / np.cumsum(self.counts)", "grid * total / self.counts",
           "q without the cumulative count", _CALIBRATION),
    Mutant(FRACTIONS, "np.count_nonzero(values > inconsistent_above", "np.count_nonzero(values >= inconsistent_above",
           "the reference itself is inconsistent", _CALIBRATION),
    Mutant(CALIBRATION, "= conformal_p(scores[good], reference)", "= conformal_p(-scores[good], reference)",
           "the least anomalous has the smallest p", _SCORE),
    Mutant(SCORE, "wanted = ~has_flag(cutouts.read(\"flags\"), NOT_SCORED)", "wanted = cutouts.read(\"flags\") >= 0",
           "objects without pixels are scored", _SCORE),
    Mutant(CHOICE, "(settings.declared, settings.first,", "(settings.first,",
           "another declared score is not noticed", _PLAN),
    Mutant(SPLITS, "flags | int(Flag.DUPLICATE)", "flags", "second rows are not marked",
           (f"{CUTOUTS}/test_joins.py",)),
    Mutant(SUMMARY, '"is_primary").to_numpy() & ~planted', '"is_primary").to_numpy() | planted',
           "planted copies are discoveries", _SUMMARY),
    Mutant(RANKING, "unseen.append(~_learnt(table, rule)[counted])", "unseen.append(counted[counted])",
           "what has trained counts for q", _RANKING),
    Mutant(RANKING, "return masks.levelled(values, shares_of_part(part))", "return values", "masks rank", _RANKING),
    # The catalogue.
    Mutant(RANKING, "counted = is_object & np.isfinite(found)", "counted = np.isfinite(found)",
           "second rows are ranked", _PUBLISHED),
    Mutant(RANKING, "1 + len(self.values) - np", "len(self.values) - np", "ranks begin at 0", _PUBLISHED),
    Mutant(RANKING, 'self.values, value, side="right")', 'self.values, value, side="left")', "the best has rank 2",
           _PUBLISHED),
    Mutant(PUBLISHED, "plain.filter(pa.array(~planted))", "plain", "planted copies are in the catalogue", _PUBLISHED),
    Mutant(FILES, 'yield table.filter(table.column("is_primary"))', "yield table",
           "findings count second rows", (*_FINDINGS, *_PUBLISHED)),
    Mutant(COLUMNS, '"deg", "pos.eq.ra;meta.main"', 'None, "pos.eq.ra;meta.main"', "ra has no unit", _SCHEMA),
    Mutant(SCHEMA, 'column.null_count and not field.nullable', "False", "an id may be null", _SCHEMA),
    Mutant(DIFFERENCE, "moved = (shift > self.moved_arcsec) |", "moved = (shift < 0) |",
           "moves go unseen", _DIFFERENCE),
    Mutant(DIFFERENCE, "rescored = np.abs(change) > self", "rescored = change > self", "a falling score goes unseen",
           _DIFFERENCE),
    # The report's numbers.
    Mutant(FINDINGS, "<= FALSE_DISCOVERY_RATE\n", "<= 1.0\n", "everything is a discovery", _FINDINGS),
    Mutant(FINDINGS, "FALSE_DISCOVERY_RATE = 0.1", "FALSE_DISCOVERY_RATE = 0.2", "discoveries at 20%", _FINDINGS),
    Mutant(FINDINGS, "np.count_nonzero(values > above)", "np.count_nonzero(values < above)",
           "consistent is inconsistent", _FINDINGS),
    Mutant(FINDINGS, "        tally.add(PLANTED, copies)\n", "        tally.add(REAL, copies)\n",
           "planted copies count as objects", _FINDINGS),
    # Plan and check.
    Mutant(PLAN, "sample_joins[s.name]], fingerprints", "joins], fingerprints", "a sample is scored as the survey",
           _PLAN),
    Mutant(PLAN_CUTOUTS, 'update={"plant": None}) if is_sample', 'update={}) if is_sample',
           "anomalies are planted in samples",
           _PLAN),
    Mutant(PLAN, "(cutouts, ()) if model.sample is None", "((), ()) if model.sample is None",
           "new tiles leave models as they were", _PLAN),
    Mutant(PLAN, "earlier = None if receipt else best_earlier(", "earlier = None and best_earlier(",
           "scores that hold are made anew", _PLAN),
    Mutant("galflow/runs/plan_joins.py", "elif survey.detects and earlier:", "elif False:",
           "a new release renames objects", _JOINS),
    Mutant(CHECK_SURVEY, "len(affected) >= len(tiles)", "len(affected) > len(tiles)",
           "a fault of all tiles is a remark",
           _CHECK),
    Mutant(CHECK_SURVEY, "    faults += own if", "    own if", "a survey's faults go unsaid", _CHECK),
    # Sky and detection.
    Mutant(SKY, "_CLIP_SIGMA = 3.0", "_CLIP_SIGMA = 6.0", "the sky's sigma is too large", _SKY),
    Mutant(SKY, "QUARTILES_TO_SIGMA = 0.743641", "QUARTILES_TO_SIGMA = 1.0", "the sky's sigma is 1.35 of it", _SKY),
    Mutant("galflow/surveys/reading/background.py", "return flux - np.float32(sky_level(flux, mask, ivar))",
           "return flux", "the sky stays in", _SKY),
    Mutant(SKY, "value = sigma**-2 if", "value = sigma**-1 if", "inverse variances are no variances", _SKY),
    Mutant(DETECTION, "peak_y * light.shape[1] + peak_x,", "peak_x * light.shape[1] + peak_y,",
           "ids are no pixel numbers", _DETECTION),
    Mutant(DETECTION, "_MINIMUM_RADIUS = 3.5", "_MINIMUM_RADIUS = 0.5", "small apertures lose light", _DETECTION),
    Mutant(DETECTION, '"snr": total / error,', '"snr": total,', "S/N is a flux", _DETECTION),
    Mutant(DETECTION, "threshold = options.threshold_sigma * (", "threshold = 2.0 * options.threshold_sigma * (",
           "faint objects are lost", _DETECTION),
    Mutant(DETECTION, "flux, np.nan)\n", "flux, 0.0)\n", "a band without data has flux 0",
           (f"{SURVEYS}/test_detection.py", f"{SURVEYS}/test_detection_grids.py")),
)  # fmt: skip
