"""The commands that write what galflow made for others: export, bundle. Libraries are imported inside them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.inspect_commands import DEFAULT_ROOT, ReadRootOption
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


def bundle(
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run id, as `galflow runs` lists it.")],
    output: Annotated[Path, typer.Option("-o", help="A new folder, or a file whose name ends in .zip.")],
    root: ReadRootOption = DEFAULT_ROOT,
) -> None:
    """Write a run as an RO-Crate for a paper: manifest, specification, catalogue, report, models, citation."""
    from galflow.runs.bundle import write_bundle
    from galflow.runs.opened import published_at
    from galflow.storage.store import Store

    line = write_bundle(published_at(Store.open(root), run_id), output)
    terminal().print(f"{output}\ncite it as: {line}", soft_wrap=True)


def add_to(app: typer.Typer) -> None:
    """Give the command line these commands."""
    for command in (export, bundle):
        app.command()(command)
