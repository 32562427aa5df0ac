"""The commands for files that are new: init writes a first specification of a folder, check explains a file.

Heavy libraries are imported inside the command that needs them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.inspect_commands import JsonOption
from flows.terminal import show_table, table_of, terminal
from galflow.errors import DataError, SpecError

if TYPE_CHECKING:
    from galflow.runs.explained import Explained
    from galflow.surveys.recognise import Recognised


def init(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="A folder or s3://bucket/prefix of a survey's images.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="The specification to write; by default the folder's name, here.", show_default=False
        ),
    ] = None,
    picture: Annotated[
        bool, typer.Option("--picture/--no-picture", help="Draw three objects of one tile beside it.")
    ] = True,
    as_json: JsonOption = False,
) -> None:
    """Recognise the survey in a folder, and write a specification that runs."""
    from galflow.runs.first_picture import write_stamps
    from galflow.runs.first_spec import recognised_json, write_spec
    from galflow.surveys.recognise import recognise

    found = recognise(folder)
    path, spec = write_spec(found, folder, output)
    drawn, count, lost = path.with_suffix(".png"), 0, None
    if picture:
        try:
            count = write_stamps(found, spec, drawn)
        except (DataError, SpecError) as error:  # the specification stands without it
            lost = str(error)
    if as_json:
        sys.stdout.write(json.dumps(recognised_json(found, path, drawn if count else None), indent=1) + "\n")
    else:
        _show_recognised(terminal(), found, path, drawn if count else None, count)
    if lost is not None:
        terminal(errors=True).print(f"note: no picture: {lost}", style="yellow", soft_wrap=True)


def _show_recognised(out: Console, found: Recognised, path: Path, drawn: Path | None, count: int) -> None:
    images = f"{found.images:,} image{'' if found.images == 1 else 's'}"
    out.print(f"{found.kind}: {found.product}; {images} of {', '.join(found.bands)}", soft_wrap=True)
    for sentence in found.known:
        out.print(f"  found      {sentence}", soft_wrap=True)
    for sentence in found.unknown:
        out.print(f"  not known  {sentence}", style="yellow", soft_wrap=True)
    if drawn is not None:
        what = "objects" if found.ready_made else "of the brightest objects of one tile"
        out.print(f"picture        {drawn}  ({count} {what})", soft_wrap=True)
    out.print(f"specification  {path}", soft_wrap=True)
    out.print(f"Next: galflow plan {path}, then galflow run {path}", soft_wrap=True)


def check(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE...", help="FITS files, local or s3://.", show_default=False)
    ],
    as_json: JsonOption = False,
) -> None:
    """Explain files: HDUs, unit, zero point, WCS, mask planes, PSF, and what galflow would use of them."""
    from galflow.runs.explained import explain

    explained, faults = list["Explained"](), list[str]()
    for file in files:
        try:
            explained.append(explain(file))
        except SpecError as error:
            faults.append(str(error))
    if as_json:
        sys.stdout.write(json.dumps([found.to_json() for found in explained], indent=1) + "\n")
    else:
        for number, found in enumerate(explained):
            if number:
                terminal().print()
            _show_explained(terminal(), found)
    if faults:
        raise SpecError("\n".join(faults))


def _show_explained(out: Console, found: Explained) -> None:
    """A screen of one file."""
    out.print(found.uri, style="bold", soft_wrap=True)
    table = table_of("HDU", "name", "kind", "shape", "pixels", "unit", right=("HDU",))
    for hdu in found.hdus:
        shape = " x ".join(map(str, hdu["shape"]))
        table.add_row(str(hdu["number"]), hdu["name"], hdu["kind"], shape, hdu["pixels"], hdu["unit"])
    show_table(out, table, indent=2)
    survey = f"{found.recognised}: {found.product}, band {found.band}" if found.recognised else "none by its name"
    rows = {"survey": survey, "unit": found.unit if found.image is not None else "", "WCS": _place(found)}
    rows |= {"PSF": found.psf if found.image is not None else ""}
    planes = [f"{name} (bit {plane['bit']}) {plane['becomes'] or 'nothing'}" for name, plane in found.planes.items()]
    rows |= {"mask planes": ", ".join(planes)}
    rows |= {f"used as {what}": said for what, said in found.used.items()}
    for label, said in rows.items():
        if said:
            out.print(f"  {label:<14}  {said}", soft_wrap=True)
    for refusal in found.refusals:
        out.print(f"  note: {refusal}", style="yellow", soft_wrap=True)


def _place(found: Explained) -> str:
    if found.image is None:
        return ""
    if found.centre_deg is None or found.shape is None:
        return "none: pixel_scale_arcsec or nominal must be declared"
    corners = ", ".join(f"({ra:.4f}, {dec:.4f})" for ra, dec in found.corners_deg)
    height, width = found.shape
    return (
        f"centre RA {found.centre_deg[0]:.5f}, Dec {found.centre_deg[1]:.5f} deg (ICRS); {width} x {height} pixels of "
        f"{found.pixel_scale_arcsec:.4f} arcsec; corners {corners}"
    )


def add_to(app: typer.Typer) -> None:
    """Give the command line these commands."""
    for command in (init, check):
        app.command()(command)
