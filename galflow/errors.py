"""The few kinds of error galflow raises on purpose.

Every message says three things: what was given, what was expected, how to mend it.
A bare ``ValueError`` escaping from galflow is a bug in galflow.
"""

from __future__ import annotations

from galflow.variables import without_values


class GalflowError(Exception):
    """Base of all errors that galflow raises on purpose. Its text never shows an environment variable's value."""

    def __init__(self, *words: object) -> None:
        super().__init__(*(without_values(word) if isinstance(word, str) else word for word in words))


class SpecError(GalflowError):
    """What a person wrote (specification, command line, argument) cannot be meant. Raised before any work; exit 2."""


class StoreError(GalflowError):
    """The object store refused, is out of reach, or does not hold what was asked for."""


class UnreachableError(StoreError):
    """The object store did not answer at all. It may answer later."""


class TakenError(StoreError):
    """Other bytes lie where something was to be written that is never replaced."""


class IntegrityError(StoreError):
    """A stored product is missing, truncated or altered: it differs from its receipt."""


class DataError(GalflowError):
    """The data of one tile or one object cannot be used. Recorded with its reason; the run goes on."""


class ChangedError(GalflowError):
    """A file is not the one that was planned with: it was replaced meanwhile. Its unit fails, and is planned anew."""


class ModelError(GalflowError):
    """A model was asked for something it cannot do, or its training left the realm of finite numbers."""


class RankError(ModelError):
    """A training lost one of the processes that do it together. It can begin anew, from its checkpoint."""
