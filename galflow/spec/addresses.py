"""Addresses that carry credentials (http://user:secret@host): refused, since addresses are kept, shown and logged."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from galflow.errors import SpecError
from galflow.spec.part import SECRET

_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")
_MEND = (
    "holds credentials before an @; leave them out, and set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a "
    "credentials_block"
)


def holds_credentials(address: str) -> bool:
    """Whether a user or a password stands before its host."""
    _, separator, rest = address.partition("://")
    return bool(separator) and "@" in rest.replace("\\", "/").partition("/")[0].partition("?")[0]


def require_no_credentials(address: str, what: str) -> str:
    """The address; SpecError that does not repeat it, if it holds credentials. ``what`` says where it stands."""
    if holds_credentials(address):
        raise SpecError(f"{what} {_MEND}")
    return address


def require_clean_endpoints(environment: Mapping[str, str] | None = None) -> None:
    """SpecError if one of the environment's S3 endpoints holds credentials."""
    given = os.environ if environment is None else environment
    for name in _ENDPOINTS:
        require_no_credentials(given.get(name, ""), name)


def clean_address(address: str | None) -> str | None:
    """The same for a field of a specification: a pydantic error whose input is not shown."""
    if address is not None and holds_credentials(address):
        raise PydanticCustomError(SECRET, _MEND)
    return address


def is_loopback(address: str) -> bool:
    """Whether an address such as tls://127.0.0.1:8786 names the machine itself, by number or as localhost."""
    try:
        host = urlsplit(address).hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False  # a name, or no address at all
