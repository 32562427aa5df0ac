"""The object store's credentials from a Prefect Secret block, for a run whose specification names one.

They go into the environment of the run's process, where the store and the workers that it starts look for them, and
nowhere else: no message repeats what is in the block.
"""

from __future__ import annotations

import os
from typing import Any, cast

from prefect.blocks.system import Secret
from prefect.settings import PREFECT_API_URL

from galflow.errors import SpecError
from galflow.spec.addresses import require_clean_endpoints
from galflow.spec.store import StoreSpec

VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_DEFAULT_REGION",
    "AWS_REGION",
)  # fmt: skip
_EXPECTED = 'a JSON object such as {"AWS_ACCESS_KEY_ID": "...", "AWS_SECRET_ACCESS_KEY": "..."}'


def use_credentials(store: StoreSpec) -> None:
    """Take the credentials of the block that the store names, in place of the environment's own.

    Nothing if it names none. SpecError for a block that is not there, or holds anything else.
    """
    if store.credentials_block is None:
        return
    os.environ.update(_held_by(store.credentials_block))


def _held_by(block: str) -> dict[str, str]:
    try:
        held: Any = cast(Secret[Any], Secret.load(block)).get()
    except ValueError as error:
        raise SpecError(
            f"store.credentials_block: Prefect's server at {PREFECT_API_URL.value() or 'this machine'} has no Secret "
            f"block {block!r}; make it in the UI (Blocks, Secret) with {_EXPECTED}, or leave it out and set these "
            "variables"
        ) from error
    if not isinstance(held, dict) or not held or not all(isinstance(text, str) for text in held.values()):
        raise SpecError(f"store.credentials_block: Secret block {block!r} does not hold {_EXPECTED}")
    unknown = sorted(set(held) - set(VARIABLES))
    if unknown:
        # Names alone: but what somebody took for a name could be a secret.
        raise SpecError(
            f"store.credentials_block: Secret block {block!r} has {len(unknown)} name(s) besides {', '.join(VARIABLES)}"
        )
    require_clean_endpoints(held)
    return held
