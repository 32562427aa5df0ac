"""The run's page as text, its links, and how much of the log reaches Prefect. What the UI shows: tests/flows."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from prefect.logging.handlers import set_api_log_sink

from galflow.errors import StoreError
from galflow.spec.run import RunSpec
from galflow.storage.receipts import Receipt
from tasks import monitoring
from tasks.fan_out import Failure, StageResult
from tasks.monitoring import stage
from tasks.run_page import CONTINUE, RunPage, page_of, present_page, web_address

Specify = Callable[..., RunSpec]


@pytest.fixture
def page(specify: Specify) -> Iterator[RunPage]:
    with page_of(specify()) as found:
        yield found


def test_a_stage_that_ends_is_a_row_and_a_line(page: RunPage, caplog: pytest.LogCaptureFixture) -> None:
    receipts = tuple(Receipt(product=name, fingerprint=name) for name in "abc")

    @stage("score")
    def score(sample: str | None = None) -> StageResult:
        return StageResult(receipts, (Failure("score", "t7", "x < 1 | *no*\nrows"),), made=2)

    with caplog.at_level(logging.INFO, "tasks.monitoring"):
        score.fn("mock")
    (record,) = caplog.records
    assert record.getMessage() == "2 made, 1 done before, 1 failed in 0.0 s"
    lines = page.markdown().splitlines()
    assert "| score mock | 2 | 1 | 1 | 0.0 |" in lines
    assert lines[-3:] == [f"**1 failed.** {CONTINUE}", "", r"- score mock t7: x \< 1 \| \*no\* rows"]


def test_only_the_first_failures_are_listed(page: RunPage) -> None:
    @stage("ingest")
    def ingest() -> StageResult:
        return StageResult((), tuple(Failure("ingest", f"t{i}", "torn") for i in range(1234)))

    ingest.fn()
    text = page.markdown()
    assert (text.count("torn"), "**1,234 failed.**" in text) == (10, True)
    assert text.endswith("- and 1,224 more")


def test_a_stage_that_breaks_off_says_why(specify: Specify) -> None:
    @stage("ingest")
    def ingest() -> None:
        raise StoreError("the store is gone")

    with pytest.raises(StoreError), page_of(specify()) as page:
        ingest.fn()
    assert present_page() is None
    text = page.markdown()
    assert "broke off: StoreError: the store is gone" in text
    assert "| ingest |  |  | 1 | 0.0 |" in text
    assert CONTINUE in text


def test_the_dashboard_is_there_while_the_run_lasts(specify: Specify, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "tasks.run_page"), page_of(specify()) as page:
        for _ in range(2):  # at each stage
            page.runs_at("http://127.0.0.1:8787/status")
        assert "[http://127.0.0.1:8787/status](http://127.0.0.1:8787/status)" in page.markdown()
    assert "8787" not in page.markdown()
    assert caplog.messages == ["Dask's dashboard is at http://127.0.0.1:8787/status"]


@pytest.mark.parametrize(
    ("uri", "endpoint", "address"),
    [
        ("file:///my data/50%/index.html", None, "file:///my%20data/50%25/index.html"),
        ("s3://b/r/index.html", None, "https://s3.amazonaws.com/b/r/index.html"),
        ("s3://b/a b.html", "http://store:8333", "http://store:8333/b/a%20b.html"),
        ("s3://b/r", "https://key:secret@store/s3/?token=t", "https://store/s3/b/r"),
    ],
)
def test_a_browser_can_open_it_and_it_holds_no_secret(
    uri: str, endpoint: str | None, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    assert web_address(uri, endpoint) == address


def test_prefect_gets_warnings_until_there_are_too_many() -> None:
    sent: list[dict[str, Any]] = []
    run = str(uuid.uuid4())
    logger = logging.getLogger("galflow.test_run_page")
    logger.propagate = False
    handler = monitoring._ToPage(run)
    logger.addHandler(handler)
    set_api_log_sink(sent.append)
    try:
        logger.info("not for it")
        for i in range(monitoring._MOST_ON_PAGE + 50):
            logger.warning("tile %d", i)
    finally:
        set_api_log_sink(None)
        logger.removeHandler(handler)
    assert len(sent) == monitoring._MOST_ON_PAGE + 1
    assert {log["flow_run_id"] for log in sent} == {run}
    assert [sent[i]["message"] for i in (0, -2)] == ["tile 0", f"tile {monitoring._MOST_ON_PAGE - 1}"]
    assert sent[-1]["message"].startswith(f"more than {monitoring._MOST_ON_PAGE} warnings: the others stand in the log")
