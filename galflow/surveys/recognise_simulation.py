"""Whether a folder holds simulated galaxies, which no header of theirs says how to observe.

They are compared with a survey, not run as one: what is recognised is told with the sample to write, and no
specification is made up. It reads no pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

from galflow.errors import DataError, SpecError
from galflow.surveys.reading.fits_contents import contents
from galflow.surveys.reading.sunrise import recognised_cameras

_SAMPLE = (
    "are compared with a survey: write a specification of the survey (`galflow init` its folder), and there "
    "`comparison: {{samples: [{{name: simulated, survey: {{kind: {kind}, options: {{root: {root}, {more}, like: "
    "{{kind: ..., options: ...}}}}}}}}]}}`, where like is that survey; `galflow schema {kind}` explains every option"
)


def refuse_simulations(root: str, paths: Sequence[str]) -> None:
    """SpecError, with what to write, where the first FITS file below ``root`` is one of Sunrise or SKIRT."""
    path = next(iter(paths), None)
    if path is None:
        return
    uri, told = f"{root}/{path}", root.removeprefix("file://")
    try:
        hdus = contents(uri)
        sunrise = any(hdu.name.startswith("CAMERA") for hdu in hdus)
        cameras = len(recognised_cameras(uri, dust=False)) if sunrise else 0
    except DataError:
        return  # whoever asks it next says what is wrong with it
    if cameras:
        sample = _SAMPLE.format(kind="illustris", root=told, more='pattern: "**broadband_{galaxy}.fits"')
        raise SpecError(f"{root} holds broadband files of Sunrise ({path}, {cameras} cameras). Such galaxies {sample}")
    if any("SKIRT" in str(hdu.header.get("ORIGIN", "")).upper() for hdu in hdus):
        unit = next((hdu.unit for hdu in hdus if hdu.unit), "none")
        more = 'pattern: "{galaxy}_{camera}_{band}.fits", bands: [g, r], light: seen'
        sample = _SAMPLE.format(kind="skirt", root=told, more=more)
        raise SpecError(f"{root} holds images of SKIRT ({path}, BUNIT = {unit}). Such galaxies {sample}")
