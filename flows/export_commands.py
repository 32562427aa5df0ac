"""The command that writes what galflow made for other software: export. Libraries are imported inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.terminal import terminal
from galflow.errors import SpecError, StoreError

PartName = Literal["score", "encoder", "decoder", "critic"]


def export(
    model: Annotated[
        str, typer.Argument(metavar="MODEL_URI", help="A trained model's folder, as `galflow show RUN` lists it.")
    ],
    output: Annotated[Path, typer.Option("-o", help="The file to write; its name ends in .onnx.")] = Path("model.onnx"),
    part: Annotated[
        PartName, typer.Option(help="Scores of images, their latents, images of latents, or the critic's value.")
    ] = "score",
) -> None:
    """Write a trained model as ONNX, for software that has neither galflow nor torch."""
    from galflow.training.onnx_export import export_onnx
    from galflow.training.trained_model import load_uri

    if output.suffix != ".onnx":
        raise SpecError(f"-o is {str(output)!r}; expected the name of a file that ends in .onnx")
    data = export_onnx(load_uri(model), part)
    try:
        with output.open("xb") as file:
            file.write(data)
    except FileExistsError as error:
        raise StoreError(f"{output} exists already; nothing is overwritten, give another name") from error
    terminal().print(f"{part} of {model}: {output} ({len(data) / 1e6:.1f} MB)", soft_wrap=True)


def add_to(app: typer.Typer) -> None:
    """Give the command line these commands."""
    app.command()(export)
