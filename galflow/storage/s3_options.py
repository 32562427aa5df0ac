"""How galflow connects to S3, said once for all of its connections. Credentials come from the environment."""

from __future__ import annotations

import os
from typing import Any

from galflow.spec.addresses import require_clean_endpoints

_ATTEMPTS = 10
"""Of a request that is throttled, answered by 5xx or not at all, with a pause that doubles to 20 s: a minute in all.
AWS_MAX_ATTEMPTS and AWS_RETRY_MODE, as botocore reads them, say otherwise."""


def s3_options(endpoint_url: str | None) -> dict[str, Any]:
    """Options of fsspec's S3 file system; an endpoint that is None comes from AWS_ENDPOINT_URL."""
    options: dict[str, Any] = {"use_listings_cache": False, "default_cache_type": "none"}
    # Named here even where it comes from the environment: fsspec keeps connections by their options.
    require_clean_endpoints()
    endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint_url:
        options["endpoint_url"] = endpoint_url
    attempts = int(os.environ.get("AWS_MAX_ATTEMPTS", _ATTEMPTS))
    options["config_kwargs"] = {
        "retries": {"mode": os.environ.get("AWS_RETRY_MODE", "standard"), "total_max_attempts": attempts}
    }
    return options
