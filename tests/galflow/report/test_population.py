"""A report of groups that cannot be: the reason stands where the figure would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from galflow.report.groups import TOP
from galflow.report.population import population
from galflow.report.report import ReportInputs

BuildReport = Callable[[ReportInputs], bytes]


def by(inputs: ReportInputs, column: str | None) -> ReportInputs:
    output = inputs.spec.output.model_copy(update={"group_by": column})
    return replace(inputs, spec=inputs.spec.model_copy(update={"output": output}))


def test_without_the_option_there_are_no_groups(finished_run: ReportInputs) -> None:
    assert population(finished_run)["grouped"] is None


def test_a_column_that_the_catalogue_lacks_is_said(build_report: BuildReport, finished_run: ReportInputs) -> None:
    html = build_report(by(finished_run, "layer")).decode()
    assert "(output.group_by): no tile&#39;s catalogue has a column &#39;layer&#39;; there are object_id" in html
    assert "in each group of" not in html


def test_groups_of_galflows_own_columns_are_shown(finished_run: ReportInputs) -> None:
    shown = population(by(finished_run, "tile"))["grouped"]
    assert {row.name for row in shown.rows} == {"t00000", "t00001"}  # type: ignore[attr-defined]
    assert shown.reason is None  # type: ignore[attr-defined]
    total = sum(row.objects for row in shown.rows)  # type: ignore[attr-defined]
    assert total == finished_run.summary.outcomes.by_name["scored"]
    assert abs(sum(row.top for row in shown.rows) - TOP * total) <= 1  # type: ignore[attr-defined]
