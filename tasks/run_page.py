"""A run's page in Prefect's UI: one artifact with a table of its stages, the first failures and the links that matter.

It is written anew whenever a stage ends, never for a unit. Outside of a Prefect run there is no page: then this only
remembers.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from urllib.parse import quote, urlsplit, urlunsplit
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import ArtifactUpdate

from galflow.spec.run import RunSpec
from galflow.storage.receipts import RunManifest
from tasks.progress import in_prefect_run, link_to, telling
from tasks.report_links import served_address
from tasks.top_objects import show_top

CONTINUE = "Run the same specification again: it does what is still missing, and nothing else."
_SHOWN = 10
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StageRow:
    """How a stage ended."""

    stage: str
    seconds: float
    made: int | None = None
    """None where there is nothing to count."""
    before: int | None = None
    """Found done."""
    failures: Sequence[str] = ()

    @property
    def counts(self) -> list[str]:
        """Made, done before, failed."""
        failed = len(self.failures) if self.failures or self.made is not None else None
        return ["" if number is None else f"{number:,}" for number in (self.made, self.before, failed)]

    @property
    def told(self) -> str:
        """The same in words, for the log."""
        words = [f"{n} {what}" for n, what in zip(self.counts, ("made", "done before", "failed"), strict=True) if n]
        return ", ".join(words) or "done"


class RunPage:
    """What is known of a run that is under way."""

    def __init__(self, spec: RunSpec) -> None:
        self.manifest: RunManifest | None = None
        self._spec = spec
        self._rows: list[StageRow] = []
        self._links: dict[str, tuple[str, str]] = {}
        self._dashboard: str | None = None
        self._end = "is running."
        self._artifact: UUID | None = None

    def write(self) -> None:
        """Put it into the UI, or replace what is there."""
        if not in_prefect_run():
            return
        with telling():
            if self._artifact is None:
                words = f"{self._spec.name}: its stages, failures and products"
                made = create_markdown_artifact(self.markdown(), key="galflow-run", description=words)
                self._artifact = made  # type: ignore[assignment]
            else:
                update = ArtifactUpdate(data=self.markdown())
                get_client(sync_client=True).update_artifact(self._artifact, update)

    def stage_ended(self, row: StageRow) -> None:
        """One more row."""
        self._rows.append(row)
        self.write()

    def published(self, manifest: RunManifest) -> None:
        """The run has a catalogue and perhaps a report now."""
        self.manifest = manifest
        if manifest.report:
            self.link("report", manifest.report)
            link_to(self._address(manifest.report), "the run's report", "galflow-report")
        self.link("catalogue", manifest.catalog)
        show_top(self._spec.store, manifest.run)

    def link(self, words: str, uri: str) -> None:
        """A product to lead to, from the next time that the page is written."""
        self._links[words] = (uri, self._address(uri))

    def runs_at(self, dashboard: str) -> None:
        """Dask's dashboard, as long as the run lasts."""
        if dashboard != self._dashboard:
            self._dashboard = dashboard
            logger.info("Dask's dashboard is at %s", dashboard)
            self.write()

    def ended(self, error: BaseException | None) -> None:
        """The run is over."""
        self._dashboard = None
        self._end = "has ended."
        if error is not None:
            self._end = f"broke off: {_plain(f'{type(error).__name__}: {error}')}"
        self.write()

    def markdown(self) -> str:
        """The page."""
        lines = [f"**{_plain(self._spec.name)}** {self._end}", ""]
        lines += ["| stage | made | done before | failed | seconds |", "|---|---:|---:|---:|---:|"]
        lines += [f"| {_plain(r.stage)} | {' | '.join(r.counts)} | {r.seconds:,.1f} |" for r in self._rows]
        lines.append("")
        for words, (uri, address) in self._links.items():
            lines.append(f"- {words}: [{_plain(uri)}]({address})")
        if self._dashboard:
            lines.append(f"- Dask's dashboard, while it runs: [{_plain(self._dashboard)}]({self._dashboard})")
        failures = [f"{_plain(row.stage)} {_plain(text)}" for row in self._rows for text in row.failures]
        if failures:
            lines += ["", f"**{len(failures):,} failed.** {CONTINUE}", ""]
            lines += [f"- {failure}" for failure in failures[:_SHOWN]]
            lines += [f"- and {len(failures) - _SHOWN:,} more"] if len(failures) > _SHOWN else []
        elif self._end.startswith("broke off"):
            lines += ["", CONTINUE]
        return "\n".join(lines)

    def _address(self, uri: str) -> str:
        return served_address(uri, self._spec.store) or web_address(uri, self._spec.store.endpoint_url)


_PAGE: ContextVar[RunPage | None] = ContextVar("galflow_run_page", default=None)


@contextmanager
def page_of(spec: RunSpec) -> Iterator[RunPage]:
    """The page of the run that this block does; ``present_page`` gives it to the run's stages."""
    page = RunPage(spec)
    token = _PAGE.set(page)
    page.write()
    try:
        yield page
    except BaseException as error:
        page.ended(error)
        raise
    finally:
        _PAGE.reset(token)
    page.ended(None)


def present_page() -> RunPage | None:
    """That of the run that calls this; None for a stage that is called on its own."""
    return _PAGE.get()


def tell_dashboard(address: str) -> None:
    """Dask's dashboard of the present run."""
    if page := present_page():
        page.runs_at(address)


def tell_refusal(text: str) -> None:
    """What is wrong with the specification, a line a fault, on the run's page."""
    if not in_prefect_run():
        return
    lines = [f"- {_plain(line)}" for line in text.splitlines()]
    with telling():
        create_markdown_artifact(
            "\n".join(["**The specification is not valid.**", "", *lines]),
            key="galflow-refused",
            description="what is wrong with the specification",
        )


def web_address(uri: str, endpoint_url: str | None = None) -> str:
    """What a browser opens for a file:// or s3:// URI; for S3 the object's plain https address, without credentials.

    Whether the browser may read it is the bucket's policy; nothing is signed.
    """
    scheme, _, rest = uri.partition("://")
    if scheme != "s3":
        return f"{scheme}://{quote(rest)}"
    endpoint = urlsplit(endpoint_url or os.environ.get("AWS_ENDPOINT_URL") or "https://s3.amazonaws.com")
    host = endpoint.netloc.rpartition("@")[2]
    return urlunsplit((endpoint.scheme, host, f"{endpoint.path.rstrip('/')}/{quote(rest)}", "", ""))


def _plain(text: str) -> str:
    """Any text as one line in which Markdown finds nothing to interpret."""
    return re.sub(r"([\\`*\[\]<>|#~])", r"\\\1", " ".join(text.split()))
