"""Prefect server, UI, worker and deployments on this machine, until interrupted. Production is in deploy/."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

from galflow.errors import GalflowError

_PATIENCE_SECONDS = 120


def serve_here(port: int, root: str | None) -> None:
    """Serve the UI at 127.0.0.1:``port`` and run what is started there; ``root`` is where products go by default."""
    api = f"http://127.0.0.1:{port}/api"
    server = subprocess.Popen(
        [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    )
    try:
        _wait_until_up(server, api)
        os.environ["PREFECT_API_URL"] = api
        if root is not None:
            os.environ["GALFLOW_ROOT"] = root
        # Prefect reads PREFECT_API_URL when it is imported.
        from flows.deployments import serve_deployments

        sys.stdout.write(f"UI at http://127.0.0.1:{port} - start a run from its Deployments page; stop with Ctrl-C\n")
        sys.stdout.flush()
        serve_deployments()
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_until_up(server: subprocess.Popen[bytes], api: str) -> None:
    until = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        if server.poll() is not None:
            raise GalflowError(f"the Prefect server ended at once (exit {server.returncode}); is its port free?")
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise GalflowError(f"the Prefect server did not answer at {api} within {_PATIENCE_SECONDS} s")
