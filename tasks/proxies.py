"""A proxy in the environment is for what lies outside: this machine is asked directly.

An institute's HTTP_PROXY without NO_PROXY would send what a run says to its own server and store, at 127.0.0.1, to the
proxy. Prefect's client, botocore and Dask read the environment, and so do the processes that a run starts.
"""

from __future__ import annotations

import os

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_EXCEPTIONS = ("no_proxy", "NO_PROXY")


def bypass_for_this_machine() -> None:
    """Add this machine to NO_PROXY where a proxy is set; whatever stands there already stays."""
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return
    # Where both are set, programs differ in which they read: both then say the same.
    given = [host.strip() for name in _EXCEPTIONS for host in os.environ.get(name, "").split(",")]
    hosts = dict.fromkeys(host for host in (*given, *LOOPBACK) if host)
    for name in _EXCEPTIONS:
        os.environ[name] = ",".join(hosts)
