"""Prefect's settings for galflow: quiet, without telemetry, in a folder of its own; whoever sets a variable is obeyed.

Call ``prepare`` before Prefect is imported: it reads its settings then.
"""

from __future__ import annotations

import os
from pathlib import Path

_DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_LOGGING_LEVEL": "ERROR",
    "PREFECT_LOGGING_TO_API_ENABLED": "true",
    "PREFECT_CLI_COLORS": "false",
}


def prepare() -> None:
    """Set what is not set already."""
    home = Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "galflow" / "prefect"
    home.mkdir(parents=True, exist_ok=True)
    for name, value in {**_DEFAULTS, "PREFECT_HOME": str(home)}.items():
        os.environ.setdefault(name, value)
