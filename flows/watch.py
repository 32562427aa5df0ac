"""Looks for tiles that are new, changed or gone since a specification was last published, and tells the Prefect server.

All it remembers lies in the store: the last published run says which tiles were there, and a small record beside the
products, put after the event was sent, says that a change has been told. So it may die and be started anew at any time,
and a change is told at least once; told twice it does no harm, since a run redoes nothing that is done.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from flows.release import EVENT, announce, release_of
from galflow.catalog.difference import previous_run
from galflow.errors import GalflowError, SpecError
from galflow.report.inputs import CUTOUTS
from galflow.runs.plan import TileUnit, plan_cutouts
from galflow.spec.run import RunSpec, fingerprint
from galflow.storage.receipts import Receipt, read_receipts, to_json
from galflow.storage.store import Store

_SHOWN = 5

Say = Callable[[str], None]


@dataclass(frozen=True)
class Change:
    """How a survey's tiles differ from those of the last published run."""

    since: str | None
    """That run; None if there is none yet."""
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]
    state: str
    """Fingerprint of what was found there and of what it was compared with."""

    def __bool__(self) -> bool:
        """Whether anything differs."""
        return bool(self.new or self.changed or self.gone)

    def __str__(self) -> str:
        parts = [_few(name, tiles) for name, tiles in
                 (("new", self.new), ("changed", self.changed), ("gone", self.gone)) if tiles]  # fmt: skip
        return f"{'; '.join(parts) or 'no tile differs'} (since {self.since or 'ever'})"

    def to_json(self) -> dict[str, object]:
        """Plain values, for the event and for the record."""
        return {
            "since": self.since, "new": list(self.new), "changed": list(self.changed), "gone": list(self.gone),
        }  # fmt: skip


def _few(what: str, tiles: tuple[str, ...]) -> str:
    more = f" and {len(tiles) - _SHOWN:,} more" if len(tiles) > _SHOWN else ""
    return f"{len(tiles):,} {what}: {', '.join(tiles[:_SHOWN])}{more}"


def find_change(spec: RunSpec, store: Store) -> Change:
    """Compare the survey's tiles as they are now with those of the last published run of the specification's name.

    A tile changed if its files did or, where one catalogue serves the whole survey, if its rows did. A tile that could
    not be cut in that run is not of it, so it is new.
    """
    last = previous_run(store, spec.name, "")
    receipts = read_receipts(store, last.products.get(CUTOUTS, []) if last else [])
    before = {str(receipt.details.get("tile", "")): receipt.brief() for receipt in receipts}
    now = {unit.name: unit for unit in plan_cutouts(spec, spec.survey, store)}
    seen = sorted((name, unit.tile.identity, unit.fingerprint if unit.rows is not None else "")
                  for name, unit in now.items())  # fmt: skip
    return Change(
        since=last.run if last else None,
        new=tuple(sorted(now.keys() - before.keys())),
        changed=tuple(sorted(n for n in now.keys() & before.keys() if _differs(before[n], now[n]))),
        gone=tuple(sorted(before.keys() - now.keys())),
        state=fingerprint(last.run if last else None, [list(entry) for entry in seen]),
    )


def _differs(receipt: Receipt, unit: TileUnit) -> bool:
    if receipt.inputs.get("tile") != unit.tile.identity:
        return True
    return unit.rows is not None and receipt.fingerprint != unit.fingerprint


def look_once(spec: RunSpec, say: Say) -> bool:
    """Look, and emit the event if there is a change that was not told before; whether it was emitted."""
    store = Store.of(spec.store)
    change = find_change(spec, store)
    if not change:
        say(f"{spec.name}: {change}")
        return False
    record = f"releases/{spec.survey.survey_name}/{spec.name}/{change.state}.json"
    if store.exists(record):
        say(f"{spec.name}: {change}; told before")
        return False
    server = announce([release_of(spec, spec.survey.release, change.to_json())])
    told = {"event": EVENT, "release": spec.survey.release, "told": datetime.now(UTC).isoformat(timespec="seconds")}
    store.put_if_absent(record, to_json(change.to_json() | told))
    say(f"{spec.name}: {change}; emitted {EVENT} to {server}")
    return True


def watch(spec: RunSpec, every_seconds: float, say: Say) -> None:
    """Look again and again, until KeyboardInterrupt.

    What may pass by itself, such as a store or a server that does not answer, is said and tried again at the next look;
    SpecError is raised.
    """
    while True:
        try:
            look_once(spec, say)
        except SpecError:
            raise
        except GalflowError as error:
            say(f"{spec.name}: {error}; trying again in {every_seconds:g} s")
        time.sleep(every_seconds)
