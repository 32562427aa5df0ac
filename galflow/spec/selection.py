"""Which objects of a survey are taken: rules on catalogue columns, regions of the sky, stars or galaxies.

A part of the specification. It checks what can be known without a catalogue; galflow.surveys.reading.selection applies
it.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from galflow.errors import SpecError
from galflow.spec.expressions import LONGEST, Expression, parse_expression
from galflow.spec.part import Part

MOST_RULES, MOST_REGIONS, MOST_VERTICES = 50, 100, 200
WIDEST_POLYGON_DEG = 60.0
"""From its middle to a vertex; great circles are straight lines there on the plane that touches the middle."""
Degrees = Annotated[float, Field(ge=-360, le=360)]
Declination = Annotated[float, Field(ge=-90, le=90)]
Polygon = Annotated[tuple[tuple[Degrees, Declination], ...], Field(min_length=3, max_length=MOST_VERTICES)]


def _parsed(text: str) -> str:
    try:
        parse_expression(text)
    except SpecError as error:
        raise ValueError(str(error)) from None
    return text


class RuleSpec(Part):
    """What a row of the catalogue must fulfil; written as its text alone, or with a name."""

    rule: Annotated[str, Field(max_length=LONGEST), AfterValidator(_parsed)]
    """An expression on columns, such as mag_i < 22 and flags & 4 == 0; column('MAG AUTO') for odd names."""
    name: Annotated[str, Field(min_length=1, max_length=80)] | None = None
    """What is said of the objects that it leaves out, as "too faint"; by default its text."""

    @property
    def reason(self) -> str:
        """The name, or the text."""
        return self.name or " ".join(self.rule.split())

    @property
    def expression(self) -> Expression:
        """The rule, parsed."""
        return parse_expression(self.rule)


def _written_as_text(given: Any) -> Any:
    return {"rule": given} if isinstance(given, str) else given


class CircleSpec(Part):
    """A circle on the sky (ICRS)."""

    ra_deg: Degrees
    """Right ascension of its centre."""
    dec_deg: Declination
    """Declination of its centre."""
    radius_deg: Annotated[float, Field(gt=0, le=180)]
    """Its radius."""


class BoxSpec(Part):
    """What lies between two right ascensions and two declinations (ICRS)."""

    ra_deg: tuple[Degrees, Degrees]
    """West and east edge; [350, 10] goes through 0."""
    dec_deg: tuple[Declination, Declination]
    """South and north edge."""

    @model_validator(mode="after")
    def _opens(self) -> BoxSpec:
        if self.dec_deg[0] >= self.dec_deg[1]:
            raise ValueError(f"dec_deg is {list(self.dec_deg)}; expected the southern edge first")
        if self.ra_deg[0] == self.ra_deg[1]:
            raise ValueError(f"ra_deg is {list(self.ra_deg)}; expected two edges, or [0, 360] for all")
        return self

    @property
    def width_deg(self) -> float:
        """From the western edge to the eastern one."""
        west, east = self.ra_deg
        return 360.0 if east - west >= 360.0 else (east - west) % 360.0 or 360.0


class RegionSpec(Part):
    """A region of the sky: a circle, a box or a polygon."""

    circle: CircleSpec | None = None
    """Centre and radius."""
    box: BoxSpec | None = None
    """Edges in right ascension and declination."""
    polygon: Polygon | None = None
    """Vertices [right ascension, declination], joined by great circles; of any shape whose edges do not cross."""

    @model_validator(mode="after")
    def _is_one(self) -> RegionSpec:
        given = [name for name in ("circle", "box", "polygon") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"a region is one of circle, box and polygon; given: {', '.join(given) or 'none'}")
        if self.polygon is not None:
            middle = self.middle
            if not math.hypot(*middle) or _widest_deg(middle, self.polygon) > WIDEST_POLYGON_DEG:
                raise ValueError(
                    f"a vertex lies more than {WIDEST_POLYGON_DEG:g} degrees from the polygon's middle; divide it into "
                    "several regions"
                )
        return self

    @property
    def middle(self) -> tuple[float, float, float]:
        """Unit vector of a polygon's middle, the mean of its vertices; (0, 0, 0) where they have none."""
        total = [math.fsum(part) for part in zip(*(_vector(*vertex) for vertex in self.polygon or ()), strict=True)]
        length = math.hypot(*total)
        x, y, z = (part / length if length > 1e-9 else 0.0 for part in total)
        return x, y, z


def _vector(ra_deg: float, dec_deg: float) -> tuple[float, float, float]:
    ra, dec = math.radians(ra_deg), math.radians(dec_deg)
    return math.cos(dec) * math.cos(ra), math.cos(dec) * math.sin(ra), math.sin(dec)


def _widest_deg(middle: tuple[float, float, float], vertices: tuple[tuple[float, float], ...]) -> float:
    chords = (math.dist(middle, _vector(*vertex)) for vertex in vertices)
    return math.degrees(max(2 * math.asin(min(1.0, chord / 2)) for chord in chords))


class SelectionSpec(Part):
    """Which objects of the catalogue are cut out; the others are counted by the reason that leaves them out."""

    regions: Annotated[tuple[RegionSpec, ...], Field(max_length=MOST_REGIONS)] = ()
    """Parts of the sky: an object in any of them is taken. None: all of the sky. Tiles beyond them are not opened."""
    where: Annotated[
        tuple[Annotated[RuleSpec, BeforeValidator(_written_as_text, json_schema_input_type=str | RuleSpec)], ...],
        Field(max_length=MOST_RULES),
    ] = ()
    """Rules that an object must fulfil, all of them, such as "mag_i < 22"; a missing value fulfils none."""
    stars: Literal["drop", "keep"] | None = None
    """Leave out stars, or all but stars, by their size in the image against the PSF; what is too faint is no star."""

    @model_validator(mode="after")
    def _names_differ(self) -> SelectionSpec:
        reasons = [rule.reason for rule in self.where]
        twice = sorted({reason for reason in reasons if reasons.count(reason) > 1})
        if twice:
            raise ValueError(f"rules must differ in name or text, but {twice[0]!r} occurs more than once")
        return self

    @property
    def selects(self) -> bool:
        """Whether it can leave out anything."""
        return bool(self.regions or self.where or self.stars)
