"""The login of this user's own Prefect server: made at its first start, in a file that only its owner can read.

Whoever has it can start runs, and so run code as the service's user. `galflow serve` makes it and says it once; later
commands of the same user find it here, and send it only to servers that this user's `galflow serve` has up. This file
imports no Prefect: flows.environment reads it before Prefect reads its settings.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from galflow.errors import GalflowError, SpecError

USER = "galflow"
VARIABLES = ("PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING")
"""Where Prefect's server and its clients look for the login."""
_FILE = "galflow-login"
_SERVED = "galflow-served-{port}"
_TOKEN_BYTES = 32
_SHORTEST_TOKEN = 16


@dataclass(frozen=True)
class Login:
    """What a server asks for, and how its user is told."""

    text: str = field(repr=False)
    """NAME:TOKEN: all of it is what the UI's login page calls the password."""
    told: str = field(repr=False)

    @classmethod
    def of_service(cls, home: Path) -> Login:
        """The one that is set in the environment, or else the one in ``home``, which is made if there is none.

        SpecError if a token in the environment is too short to be one.
        """
        for name in VARIABLES:
            if text := os.environ.get(name):
                require_login(text, name)
                return cls(text, f"log in with what {name} holds")
        text, made = own_login(home)
        kept = login_file(home)
        return cls(text, f"log in with {text} (kept in {kept})" if made else f"log in with the line in {kept}")


def require_login(text: str, name: str) -> None:
    """SpecError if ``text`` is no NAME:TOKEN; ``name`` is the variable that it stands in."""
    user, _, token = text.partition(":")
    if not user or len(token) < _SHORTEST_TOKEN or not text.isascii() or not text.isprintable():
        raise SpecError(
            f"a server does not start without a login: set {name} to NAME:TOKEN with a TOKEN of {_SHORTEST_TOKEN} "
            "characters and more (openssl rand -hex 24 makes one)"
        )


def login_file(home: Path) -> Path:
    """Where the login is kept; ``home`` is PREFECT_HOME."""
    return home / _FILE


def own_login(home: Path) -> tuple[str, bool]:
    """The login, ``galflow:TOKEN``, and whether it was made just now.

    GalflowError if its file cannot be read or written, is another user's, or can be read by others.
    """
    file = login_file(home)
    try:
        home.mkdir(parents=True, exist_ok=True)
        made = not file.exists() and _make(file)
        return _read(file), made
    except OSError as error:
        raise GalflowError(
            f"the login file {file} cannot be had ({error.strerror}); its folder must be one that you can write, "
            "or set PREFECT_HOME to such a folder"
        ) from error


def _make(file: Path) -> bool:
    """Write a new login, unless another process is first; the file is never there without its content."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{_FILE}-")  # readable by its owner alone
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as out:
            out.write(f"{USER}:{secrets.token_urlsafe(_TOKEN_BYTES)}\n")
        try:
            os.link(name, file)
        except FileExistsError:
            return False
    finally:
        os.unlink(name)
    return True


def _read(file: Path) -> str:
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW)
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as opened:
        found = os.fstat(opened.fileno())
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise GalflowError(
                f"the login file {file} must be yours and readable by you alone, but its mode is "
                f"{stat.S_IMODE(found.st_mode):o}; others may know the login: delete the file, and "
                "`galflow serve` makes a new one"
            )
        text = opened.read().strip()
    try:
        require_login(text, str(file))
    except SpecError:
        raise GalflowError(
            f"the login file {file} does not hold NAME:TOKEN; delete it, and `galflow serve` makes one"
        ) from None
    return text


@contextmanager
def served_at(home: Path, port: int) -> Iterator[None]:
    """While this lasts, this user's commands send the login to 127.0.0.1:``port``."""
    record = home / _SERVED.format(port=port)
    record.write_text(str(os.getpid()), encoding="ascii")
    try:
        yield
    finally:
        record.unlink(missing_ok=True)


def login_for(api: str, home: Path) -> str | None:
    """The login for the server at that address, if this user's `galflow serve` has it up; else None.

    On a port that it no longer serves somebody else may listen.
    """
    address = urlsplit(api)
    if address.hostname not in ("127.0.0.1", "localhost") or address.port is None:
        return None
    try:
        serving = int((home / _SERVED.format(port=address.port)).read_text(encoding="ascii"))
        os.kill(serving, 0)
    except (OSError, ValueError):  # never served, ended, or the number is another user's process by now
        return None
    return own_login(home)[0]
