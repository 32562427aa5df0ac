"""What the report says of all objects at once: flags against the score, and the score by groups."""

from __future__ import annotations

from dataclasses import dataclass

from galflow.report.flag_shares import count_flags, flag_plot
from galflow.report.groups import TOP, Group, Grouped, group_plot, group_scores
from galflow.report.inputs import ReportInputs
from galflow.report.pictures import SVG, data_uri


@dataclass(frozen=True)
class GroupRow:
    """One group, in words."""

    name: str
    objects: int
    median: str
    top: int
    share: str


@dataclass(frozen=True)
class GroupsShown:
    """The figure and the table of groups, or the reason why there are none."""

    column: str
    top: float
    rows: list[GroupRow]
    figure: str | None
    reason: str | None


def population(inputs: ReportInputs) -> dict[str, object]:
    """``flag_figure``: a data URI, None where no ranked object has a flag. ``grouped``: None without that option."""
    counts = count_flags(inputs.store, inputs.catalog)
    column = inputs.spec.output.group_by
    return {
        "flag_figure": None if counts is None else data_uri(flag_plot(counts), SVG),
        "grouped": None if column is None else _shown(group_scores(inputs.store, inputs.catalog, column)),
    }


def _shown(grouped: Grouped) -> GroupsShown:
    figure = data_uri(group_plot(grouped), SVG) if grouped.groups else None
    return GroupsShown(grouped.column, TOP, [_row(group) for group in grouped.groups], figure, grouped.reason)


def _row(group: Group) -> GroupRow:
    share = group.share
    told = f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]"
    return GroupRow(group.name, group.objects, f"{group.quantile(0.5) + 0.0:+.2f}", group.top, told)
