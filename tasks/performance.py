"""Dask's performance report of a whole run, kept in the store on request. That it cannot be had never fails a run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from distributed import Client, performance_report

from galflow.spec.cluster import ClusterSpec
from galflow.storage.checksums import FileSum
from galflow.storage.layout import performance_page
from galflow.storage.products import write_one_file
from galflow.storage.receipts import Receipt
from galflow.storage.store import Store
from tasks.encryption import security_of

_PATIENCE_SECONDS = 60
logger = logging.getLogger(__name__)


@contextmanager
def recorded(cluster: ClusterSpec, keep: Callable[[bytes], None]) -> Iterator[None]:
    """Hand Dask's report of what the cluster at an address does during this block, an HTML page, to ``keep``.

    Also if the block fails, but not if it is interrupted: nobody waits for a report then.
    """
    with ExitStack() as held:
        file = Path(held.enter_context(TemporaryDirectory()), "report.html")
        report = performance_report(filename=str(file), mode="inline")
        begun: list[Client] = []
        with _only_warned():
            client = Client(cluster.address, set_as_default=False, security=security_of(cluster.tls))
            held.enter_context(client)
            with client.as_current():
                client.sync(report.__aenter__, callback_timeout=_PATIENCE_SECONDS)
            begun.append(client)

        def finish() -> None:
            for client in begun:
                with _only_warned(), client.as_current():
                    code = "galflow"  # there is no calling code of the user's to show
                    client.sync(report.__aexit__, None, None, None, code=code, callback_timeout=_PATIENCE_SECONDS)
                    keep(file.read_bytes())

        try:
            yield
        except Exception:
            finish()
            raise
        finish()


@contextmanager
def _only_warned() -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, the run's products matter more
        logger.warning("there is no performance report of this start: %s: %s", type(error).__name__, error)


def keep_report(store: Store, run: str, html: bytes) -> str:
    """Put a report beside the run's own, one for each start of the run; its URI."""
    started = time.perf_counter()
    product = performance_page(run, datetime.now(UTC))
    receipt = Receipt(product=product, fingerprint=FileSum.of(html).sha256[:16])
    return store.uri(write_one_file(store, receipt, html, started).product)
