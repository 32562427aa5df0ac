from __future__ import annotations

import pytest

from galflow.receipts import Outcome, Receipt
from galflow.report.tables import REASONS_SHOWN, count_text, duration, reasons, stage_rows


def receipt(tile: str, *texts: str, outcome: Outcome = Outcome.DONE, rows: int = 10, seconds: float = 1.5) -> Receipt:
    return Receipt(
        product=f"cutouts/s/1/{tile}/f.zarr", fingerprint=tile, rows=rows, seconds=seconds, outcome=outcome,
        reasons=texts, details={"tile": tile},
    )  # fmt: skip


def test_equal_reasons_are_counted_together_commonest_first():
    cut = [receipt(f"t{i}", "no band z") for i in range(6)] + [receipt("t9", "empty", "no band z")]
    found, more = reasons({"ingest": cut, "score": [receipt("t1", "no band z")]})
    assert [(r.stage, r.text, r.count) for r in found] == [
        ("ingest", "no band z", 7),
        ("ingest", "empty", 1),
        ("score", "no band z", 1),
    ]
    assert found[0].tiles == "t0, t1, t2, t3 and 3 more"
    assert found[1].tiles == "t9"
    assert more == 0


def test_only_so_many_reasons_are_listed_and_the_rest_counted():
    found, more = reasons({"ingest": [receipt("t", *(f"reason {i:03d}" for i in range(REASONS_SHOWN + 7)))]})
    assert len(found) == REASONS_SHOWN
    assert more == 7


def test_a_stage_counts_products_by_outcome():
    cut = [receipt("a"), receipt("b", outcome=Outcome.PARTIAL), receipt("c", outcome=Outcome.EMPTY, rows=0)]
    ingest, train, score = stage_rows(cut, [receipt("a", seconds=180.0)], {})
    assert ingest.outcomes == {"done": 1, "empty": 1, "partial": 1}
    assert (ingest.products, ingest.rows, ingest.seconds) == (3, 20, "4.5 s")
    assert train.products == 0
    assert score.seconds == "3.0 min"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (119.0, "119.0 s"), (3600.0, "60.0 min"), (9000, "2.5 h")]
)
def test_durations_have_a_fitting_unit(seconds, text):
    assert duration(seconds) == text


def test_counts_have_thin_spaces():
    assert count_text(1234567) == "1\u2009234\u2009567"
