"""Links to published reports that `galflow serve` answers itself, from whichever store they lie in.

A link is signed with the server's login, so it opens without one: whoever made it had the login, and nobody else can
make one, or lead it to another folder. It names the store, the endpoint and the report's folder, and nothing secret.
The server (flows.reports) reads no other folder than that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from dataclasses import dataclass
from urllib.parse import quote

from prefect.settings import PREFECT_API_AUTH_STRING

from galflow.spec.store import StoreSpec
from galflow.storage.layout import REPORTS, report_product

SERVED_AT = "GALFLOW_UI_URL"
"""Environment variable of a run: the address of the UI, which shows reports too, as http://127.0.0.1:4200."""
PATH = "/reports"


@dataclass(frozen=True)
class ReportFolder:
    """The folder of one run's report."""

    root: str
    """Of its store, a URI."""
    endpoint_url: str | None
    """As in the specification; None: the server's own AWS_ENDPOINT_URL, or AWS."""
    run: str

    @property
    def prefix(self) -> str:
        """Its key in the store."""
        return report_product(self.run)

    def link(self, login: str, name: str) -> str:
        """The path of one of its files on a server with this login."""
        content = json.dumps([self.root, self.endpoint_url, self.run], separators=(",", ":")).encode()
        told = base64.urlsafe_b64encode(content).decode("ascii").rstrip("=")
        return f"{PATH}/{_signature(login, told)}/{told}/{quote(name)}"

    @classmethod
    def read(cls, login: str, signature: str, told: str) -> ReportFolder | None:
        """The folder that a link names; None if it was not made with this login."""
        if not hmac.compare_digest(signature.encode(), _signature(login, told).encode()):
            return None
        try:
            root, endpoint_url, run = json.loads(base64.urlsafe_b64decode(told + "=" * (-len(told) % 4)))
        except (binascii.Error, ValueError):
            return None
        return cls(root, endpoint_url, run)


def _signature(login: str, told: str) -> str:
    made = hmac.new(login.encode(), f"galflow report {told}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(made.digest()).decode("ascii").rstrip("=")


def served_address(uri: str, store: StoreSpec) -> str | None:
    """Where the server shows a report's file; None if it is no report, or nobody serves it.

    A store whose credentials are in a Prefect block is none that the server could read.
    """
    address, login = os.environ.get(SERVED_AT), PREFECT_API_AUTH_STRING.value()
    root, folder, rest = uri.rpartition(f"/{REPORTS}/")
    run, _, name = rest.partition("/")
    if not address or not login or store.credentials_block is not None or not (folder and run and name):
        return None
    return address.rstrip("/") + ReportFolder(root, store.endpoint_url, run).link(str(login), name)
