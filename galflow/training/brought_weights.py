"""The file of a model whose network the user brings: found and summed for a plan, read once when the model is built."""

from __future__ import annotations

import os

from galflow.errors import SpecError
from galflow.models.base import BringsWeights, GenerativeModel, find_model
from galflow.spec.models import ModelSpec
from galflow.storage.look import seen
from galflow.surveys.base import TileFile
from galflow.surveys.reading.files import checksum, expand_root, local_path, read_bytes, stamp, unchanged


def brings_weights(model: ModelSpec) -> bool:
    """Whether its network comes from a file of the user's, and is not trained elsewhere already."""
    return model.trained is None and issubclass(find_model(model.model), BringsWeights)


def weights_file(model: ModelSpec) -> TileFile | None:
    """The file as it is now, within a look as it was; None if the model brings none.

    SpecError if no file is named, StoreError if there is none.
    """
    if not brings_weights(model):
        return None
    uri = _uri(model)
    return seen(("weights", uri), lambda: TileFile(f"weights {named_file(model)}", uri, checksum(uri), stamp(uri)))


def named_file(model: ModelSpec) -> str | None:
    """The file as the specification names it; None if the model brings none. SpecError if it should and names none."""
    brings = find_model(model.model)
    if not brings_weights(model) or not issubclass(brings, BringsWeights):
        return None
    option = brings.weights_option
    given = model.options.get(option)
    if not isinstance(given, str) or not given:
        raise SpecError(
            f"model {model.name}: option {option!r} is {given!r}; expected the path or URI (file:// or s3://) of the "
            f"network's file: options: {{{option}: /data/encoder.onnx}}"
        )
    return given


def _uri(model: ModelSpec) -> str:
    given = named_file(model)
    try:
        uri = expand_root(str(given))
    except SpecError as error:
        raise SpecError(f"model {model.name}: {error}") from error
    if not uri.startswith(("file://", "s3://")):
        raise SpecError(f"model {model.name}: {given} cannot be read; expected a path, file:// or s3://bucket/key")
    path = local_path(uri)
    if path is not None and os.path.isdir(path):
        raise SpecError(f"model {model.name}: {given} is a folder; expected the file of a network: give the one in it")
    return uri


def give_weights(module: GenerativeModel, model: ModelSpec, file: TileFile | None = None) -> None:
    """Let a model that brings weights have the bytes of its file; to any other nothing is done.

    ``file`` is the file as it was planned with: ChangedError if it is another one by now. SpecError if the model cannot
    use it.
    """
    if not isinstance(module, BringsWeights):
        return
    found = file or weights_file(model)
    if found is None:
        return
    with unchanged(found) as uri:
        data = read_bytes(uri)
    try:
        module.load_weights(data)
    except SpecError as error:
        raise SpecError(f"model {model.name}: {found.uri}: {error}") from error
