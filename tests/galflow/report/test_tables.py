from __future__ import annotations

import pytest

from galflow.report.inputs import StageRecord
from galflow.report.tables import REASONS_SHOWN, count_text, duration, reasons, stage_rows, troubles
from galflow.storage.receipts import Outcome, Receipt


def receipt(tile: str, *texts: str, outcome: Outcome = Outcome.DONE, rows: int = 10, seconds: float = 1.5) -> Receipt:
    return Receipt(
        product=f"cutouts/s/1/{tile}/f.zarr", fingerprint=tile, rows=rows, seconds=seconds, outcome=outcome,
        reasons=texts, details={"tile": tile},
    )  # fmt: skip


def record(*receipts: Receipt, failures: tuple[tuple[str, str], ...] = (), made: int = 0) -> StageRecord:
    return StageRecord(receipts, failures, made)


def test_equal_reasons_are_counted_together_failures_first_then_the_commonest():
    partial = Outcome.PARTIAL
    cut = [receipt(f"t{i}", "no band z", outcome=partial) for i in range(6)]
    cut.append(receipt("t9", "nothing there", "no band z", outcome=partial))
    model = Receipt(product="models/flow/f", fingerprint="f", outcome=partial, reasons=("few reference objects",))
    found, more = reasons(
        {
            "cutouts": record(*cut, failures=(("t7", "cannot be read"),)),
            "models": record(model),
            "scores of tng": record(receipt("t1", "no band z", outcome=Outcome.EMPTY)),
        }
    )
    assert [(r.stage, r.outcome, r.text, r.count) for r in found] == [
        ("ingest", "failed", "cannot be read", 1),
        ("ingest", "partial", "no band z", 7),
        ("ingest", "partial", "nothing there", 1),
        ("score tng", "empty", "no band z", 1),
        ("train", "partial", "few reference objects", 1),
    ]
    assert [r.names for r in found] == ["t7", "t0, t1, t2, t3 and 3 more", "t9", "t1", "flow"]
    assert more == 0


def test_only_so_many_reasons_are_listed_and_the_rest_counted():
    many = receipt("t", *(f"reason {i:03d}" for i in range(REASONS_SHOWN + 7)))
    found, more = reasons({"cutouts": record(many)})
    assert len(found) == REASONS_SHOWN
    assert more == 7


def test_every_stage_counts_its_products_by_outcome():
    cut = [receipt("a"), receipt("b", outcome=Outcome.PARTIAL), receipt("c", outcome=Outcome.EMPTY, rows=0)]
    rows = stage_rows(
        {
            "cutouts": record(*cut, failures=(("d", "gone"),), made=1),
            "models": record(receipt("x", rows=800), receipt("y", rows=800), made=2),
            "scores": record(receipt("a", seconds=180.0), made=1),
            "scores of tng": record(receipt("a"), made=1),
            "comparison": record(),
        }
    )
    ingest, train, score, score_tng = rows
    assert (ingest.stage, score_tng.stage) == ("ingest", "score tng")
    assert ingest.outcomes == {"done": 1, "empty": 1, "partial": 1, "failed": 1}
    assert (ingest.products, ingest.found, ingest.rows, ingest.seconds) == (4, 2, 20, "4.5 s")
    assert (train.rows, train.found) == (800, 0)  # the models share their objects
    assert score.seconds == "3.0 min"


def test_troubles_are_counted_over_all_stages():
    cut = record(receipt("a", outcome=Outcome.PARTIAL), failures=(("b", "x"), ("c", "y")))
    empty = record(receipt("a", outcome=Outcome.EMPTY), receipt("b", outcome=Outcome.EMPTY))
    assert troubles({"cutouts": cut, "scores": empty}) == "2 products failed, 1 is partial, 2 are empty"
    assert troubles({"scores": empty}) == "2 products are empty"
    assert troubles({"scores": record(receipt("a"))}) == ""


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (119.0, "119.0 s"), (3600.0, "60.0 min"), (9000, "2.5 h")]
)
def test_durations_have_a_fitting_unit(seconds, text):
    assert duration(seconds) == text


def test_counts_have_thin_spaces():
    assert count_text(1234567) == "1\u2009234\u2009567"
