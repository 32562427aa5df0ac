"""Where a run's products go, as a specification says it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from galflow.spec.addresses import clean_address
from galflow.spec.part import Part


class StoreSpec(Part):
    """Where products go."""

    root: Annotated[str, AfterValidator(clean_address)] = "galflow-out"
    """A folder, file:// or s3://bucket/prefix. Credentials never stand here: see credentials_block."""
    endpoint_url: Annotated[str | None, AfterValidator(clean_address)] = None
    """An S3 endpoint other than AWS, as http://127.0.0.1:8333; by default AWS_ENDPOINT_URL."""
    credentials_block: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,254}$")] | None = None
    """Name of a Prefect Secret block that holds AWS_ACCESS_KEY_ID and the rest; by default the environment does."""
