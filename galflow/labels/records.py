"""Labels as they are stored: who said what of which object, and when. Each act of labelling is one file.

Nothing is ever overwritten: who thinks again adds a label, and who withdraws one adds that it is withdrawn. So any
number of people on any number of machines may label at once, and a process that is killed loses at most the act that it
had not put yet. What several labels of one object mean together is said in galflow.labels.merging.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from galflow.errors import SpecError
from galflow.storage.layout import labels_folder, labels_key
from galflow.storage.store import Store

INTERESTING, ARTEFACT, NORMAL = "interesting", "artefact", "normal"
CLASSES = (INTERESTING, ARTEFACT, NORMAL)
"""What every label page offers; a person may give classes of their own beside them."""
DISPUTED = "disputed"
"""What an object is called of which as many people say one thing as another; nobody gives it."""
_PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,62}")
_CLASS = re.compile(r"[a-z][a-z0-9 _-]{0,39}")
_AT_ONCE = 1000


class Label(BaseModel):
    """What one person said of one object at one time."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    object_id: int
    label: str | None
    """A class; None: the person takes back what they said."""
    by: str
    at: AwareDatetime
    survey: str
    release: str
    """In which the object has this id."""
    run: str
    """Which they looked at."""
    ra: float | None = None
    dec: float | None = None
    """Degrees, ICRS, by which a later release finds the object; None: it has no position."""
    note: Annotated[str, Field(max_length=2000)] = ""


def require_person(name: str | None) -> str:
    """A person's name as labels have it; by default the login's. SpecError for one that cannot stand in a key."""
    given = getpass.getuser() if name is None else name.strip()
    if not _PERSON.fullmatch(given):
        raise SpecError(
            f"{given!r} cannot be the name of who labels; expected up to 63 letters, digits and . _ @ -, beginning "
            "with a letter or digit, such as ann or ann@example.org"
        )
    return given


def require_class(name: str | None) -> str | None:
    """A class as labels have it; None withdraws. SpecError for what cannot be one."""
    if name is None:
        return None
    if not _CLASS.fullmatch(name) or name == DISPUTED:
        why = "is what galflow calls objects that people disagree on" if name == DISPUTED else "cannot be a class"
        raise SpecError(
            f"{name!r} {why}; expected {', '.join(CLASSES)}, or up to 40 lower-case letters, digits, blanks, _ and -, "
            "beginning with a letter, such as ring galaxy"
        )
    return name


@dataclass(frozen=True, eq=False)
class LabelBook:
    """All labels of one survey on a store. What was read once is kept, since no label ever changes."""

    store: Store
    survey: str
    unreadable: dict[str, str] = field(default_factory=dict)
    """Key of what lies among the labels and is none -> why."""
    _known: dict[str, tuple[Label, ...]] = field(default_factory=dict)

    def read(self) -> list[Label]:
        """Every label that stands in the store now, the earliest first."""
        new = [k for k in self.store.list(labels_folder(self.survey)) if k not in self._known | self.unreadable]
        for start in range(0, len(new), _AT_ONCE):
            for key, data in self.store.get_many(new[start : start + _AT_ONCE]).items():
                self._parse(key, data)
        found = [(label.at, key, label) for key, labels in self._known.items() for label in labels]
        return [label for *_, label in sorted(found, key=lambda item: item[:2])]

    def _parse(self, key: str, data: bytes) -> None:
        try:
            labels = tuple(Label.model_validate_json(line) for line in data.splitlines() if line.strip())
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            self.unreadable[key] = f"{'.'.join(str(p) for p in first['loc'])} {first['msg']}".strip()
            return
        self._known[key] = labels

    def add(self, labels: Sequence[Label]) -> None:
        """Store what one person said in one act, under a key that nobody else has."""
        if not labels:
            raise SpecError("no object was given to label; give at least one")
        people, surveys = {label.by for label in labels}, {label.survey for label in labels}
        if len(people) != 1 or surveys != {self.survey}:
            raise SpecError(
                f"labels of {', '.join(sorted(people))} for {', '.join(sorted(surveys))} were given in one act; "
                f"expected one person's, for {self.survey}"
            )
        key = labels_key(self.survey, people.pop(), labels[0].at)
        self.store.put_once(key, lines_of(labels))
        self._known[key] = tuple(labels)


def lines_of(labels: Iterable[Label]) -> bytes:
    """JSON, a line a label."""
    return b"".join(label.model_dump_json().encode() + b"\n" for label in labels)


def now() -> datetime:
    """When a label is given."""
    return datetime.now(UTC)
