"""Who may import whom (DESIGN, The house), read off the source without running it; and how long a file may be."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("galflow", "tasks", "flows", "deploy")
LONGEST_FILE, LONGEST_FUNCTION, MOST_PARAMETERS = 300, 60, 8

FLOORS = {
    "deploy": {"flows", "tasks", "galflow"},
    "flows": {"tasks", "galflow"},
    "tasks": {"galflow"},
    "galflow": set(),
}
"""Package -> packages below it."""

_GROUND = {"constants", "errors", "variables", "photometry", "logs", "spec", "storage"}
_SURVEYS = _GROUND | {"surveys", "surveys.reading", "surveys.drawing"}
_MODELS = {"batch", "constants", "layers", "models", "photometry"}
_CUTTING = _SURVEYS | {"batch"}
ROOMS: dict[str, set[str]] = {
    "variables": set(),
    "constants": set(),
    "errors": {"variables"},
    "photometry": {"errors"},
    "batch": {"errors"},
    "logs": {"errors", "variables"},
    "spec": {"errors", "variables", "photometry"},
    "storage": {"errors", "variables", "photometry", "spec"},
    "layers": {"constants", "errors", "batch", "photometry"},
    "models": {"errors"} | _MODELS,
    "surveys.reading": _GROUND | {"surveys.base"},
    "surveys.drawing": _GROUND | {"surveys.base", "surveys.reading"},
    "surveys": _SURVEYS,
    "cutouts": _CUTTING,
    "measurements": _CUTTING | {"constants", "layers", "cutouts"},
    "training": _CUTTING | _MODELS | {"cutouts"},
    "emulation": _CUTTING | _MODELS | {"surveys.drawing", "cutouts", "training"},
    "scores": _CUTTING | _MODELS | {"cutouts", "training"},
    "compare": _CUTTING | _MODELS | {"cutouts", "training", "scores"},
    "catalog": _CUTTING | _MODELS | {"cutouts", "measurements", "training", "scores", "compare"},
    "labels": _CUTTING | _MODELS | {"cutouts", "training", "scores"},
    "report": _CUTTING | _MODELS | {"cutouts", "measurements", "training", "scores", "compare", "catalog", "labels"},
}
"""Room of galflow -> rooms (or modules of one) that it may import beside itself."""
TOP = {"runs", "explore", "__init__"}
"""On top of the library: they may see all of it, and no room may import them."""
MOST_AT_THE_ROOT = 7
UPWARD = {("galflow", "flows.whole_run")}
"""The one call that goes up: ``galflow.run`` imports the flows when it is called."""
GROUND_OF_MODELS = {f"galflow.{name}" for name in ("batch", "constants", "errors", "photometry")}
EVERYWHERE = set(PACKAGES)
ONLY_IN: dict[str, set[str]] = {
    "prefect": {"tasks", "flows", "deploy"},
    "dask": {"tasks"},
    "distributed": {"tasks"},
    "dask_cuda": {"tasks"},
    "dask_jobqueue": {"tasks"},
    "dask_kubernetes": {"tasks"},
    "kr8s": {"tasks"},
}
"""Library -> packages that may import it."""


def _files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


SOURCES = [path for package in PACKAGES for path in _files(package)]


def _module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {_module(path) for path in SOURCES}


def _imports(path: Path) -> list[tuple[int, str, str]]:
    """(line, module, name or "") of every import anywhere in a file, those inside functions too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, "") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = importlib.util.resolve_name("." * node.level + module, _package(path))
            found += [(node.lineno, module, alias.name) for alias in node.names]
    return found


def _package(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).parent.parts)


def _target(module: str, name: str) -> str:
    """``from galflow import store`` imports galflow.storage.store: the module that an import really means."""
    return f"{module}.{name}" if name and f"{module}.{name}" in MODULES else module


def _room(module: str) -> str:
    """galflow.surveys.reading.sky -> surveys.reading; galflow.models.vae -> models; galflow -> __init__."""
    parts = module.split(".")[1:]
    inner = ".".join(parts[:2])
    return inner if inner in ROOMS else parts[0] if parts else "__init__"


def _faults(path: Path) -> list[str]:
    own = _module(path)
    package = own.split(".")[0]
    faults = []
    for line, module, name in _imports(path):
        target = _target(module, name)
        there = target.split(".")[0]
        say = f"{path.relative_to(ROOT)}:{line}: {own} imports {target}"
        if there in PACKAGES:
            if there != package and there not in FLOORS[package] and (own, target) not in UPWARD:
                faults.append(f"{say}, which lies above it")
            elif there == package == "galflow" and (why := _wrong_room(own, target)):
                faults.append(f"{say}: {why}")
            if _is_private(own, target, name):
                faults.append(f"{say}: {name or target} is private to {target.rpartition('.')[0] or target}")
        elif there in ("tests", "benchmarks"):
            faults.append(f"{say}, which is no part of the product")
        elif package not in ONLY_IN.get(there, EVERYWHERE):
            faults.append(f"{say}: {there} lives in {', '.join(sorted(ONLY_IN[there]))} alone")
    return faults


def _wrong_room(own: str, target: str) -> str | None:
    here, there = _room(own), _room(target)
    if here in TOP or here == there:
        return None
    if here not in ROOMS:
        return f"room {here!r} has no floor; give it one in tests/test_import_floors.py and in the design"
    allowed = ROOMS[here]
    inner = target.removeprefix("galflow.")
    if there == "__init__":
        return None  # the version, say; the package itself holds nothing else
    if there in allowed or inner in allowed:
        return None
    return f"{here} may import {', '.join(sorted(allowed)) or 'nothing of galflow'}"


def _is_private(own: str, target: str, name: str) -> bool:
    """A name with a leading underscore belongs to its own package (folder)."""
    hidden = any(part.startswith("_") and not part.startswith("__") for part in (*target.split("."), name))
    return hidden and target.split(".")[:2] != own.split(".")[:2]


@pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(ROOT)) for p in SOURCES])
def test_imports_point_down(path: Path) -> None:
    faults = _faults(path)
    assert not faults, "\n".join(faults)


def test_models_import_torch_the_standard_library_and_errors_alone() -> None:
    import sys

    # Beside torch, the libraries that do a part of a model well: they too know no disk and no survey.
    allowed = set(sys.stdlib_module_names) | {"sklearn", "torch", "torchode", "vector_quantize_pytorch", "zuko"}
    allowed |= {"google", "onnx", "onnxruntime"}  # of bytes alone: a model that names files is refused
    faults = []
    for folder, path in ((f, p) for f in ("models", "layers") for p in _files(f"galflow/{f}")):
        for line, module, name in _imports(path):
            target = _target(module, name)
            if target.split(".")[0] in allowed or target in GROUND_OF_MODELS:
                continue
            if target.startswith("galflow.layers") or (folder == "models" and target.startswith("galflow.models")):
                continue
            faults.append(f"{path.name}:{line} imports {target}")
    assert not faults, "\n".join(faults)


def test_the_root_of_the_library_is_small() -> None:
    files = sorted(path.name for path in (ROOT / "galflow").glob("*.py"))
    assert len(files) <= MOST_AT_THE_ROOT, f"{', '.join(files)}: give each a room"


def test_models_holds_families_and_their_contract_alone() -> None:
    """Every file under galflow/models is a family that can be trained, or base.py."""
    from galflow.models.base import all_models

    families = {name.split(".")[0] for name in all_models()}
    files = {path.stem for path in (ROOT / "galflow" / "models").glob("*.py")}
    assert files - families == {"__init__", "base"}


def test_warnings_are_kept_down_in_one_place() -> None:
    """Filters belong to the process: see galflow.logs."""
    found = [str(p.relative_to(ROOT)) for p in SOURCES if "catch_warnings" in p.read_text("utf-8")]
    assert found == ["galflow/logs.py"]


def _edges() -> dict[str, set[str]]:
    """Module -> galflow, tasks, flows and deploy modules it imports when it is imported (not inside its functions)."""
    edges: dict[str, set[str]] = {}
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        lazy = {line for node in ast.walk(tree) for line in _later(node)}
        targets = {_target(m, n) for line, m, n in _imports(path) if line not in lazy}
        edges[_module(path)] = {t for t in targets if t in MODULES} - {_module(path)}
    return edges


def _later(node: ast.AST) -> Iterable[int]:
    """Lines that do not run at import: bodies of functions, and what is for type checkers alone."""
    if isinstance(node, ast.If):
        later = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
    else:
        later = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
    if later and isinstance(node, ast.stmt | ast.expr):
        return range(node.lineno, (node.end_lineno or node.lineno) + 1)
    return ()


def _cycle(edges: dict[str, set[str]]) -> list[str]:
    """One circle of imports, or nothing."""
    done: set[str] = set()
    way: list[str] = []

    def visit(module: str) -> list[str]:
        if module in way:
            return [*way[way.index(module) :], module]
        if module in done:
            return []
        way.append(module)
        for other in sorted(edges.get(module, ())):
            if circle := visit(other):
                return circle
        way.pop()
        done.add(module)
        return []

    for module in sorted(edges):
        if circle := visit(module):
            return circle
    return []


def test_no_import_goes_round_in_a_circle() -> None:
    circle = _cycle(_edges())
    assert not circle, " -> ".join(circle)


@pytest.mark.parametrize("path", SOURCES, ids=[str(p.relative_to(ROOT)) for p in SOURCES])
def test_no_file_is_too_long_to_read(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST_FILE, f"{lines} lines; a noun of its own is missing: split it"


def test_no_function_is_too_long_or_takes_too_much() -> None:
    """A model's constructor may take more: its keywords are the model's configuration."""
    faults = []
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            given = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            number = len(given) - (given[:1] in (["self"], ["cls"]))
            configuration = node.name == "__init__" and path.is_relative_to(ROOT / "galflow" / "models")
            public = not node.name.startswith("_") or node.name == "__init__"
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION or (public and number > MOST_PARAMETERS and not configuration):
                faults.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}: {lines} lines, {number} parameters")
    assert not faults, "\n".join(faults)


def test_every_file_says_what_it_is_for() -> None:
    silent = [str(p.relative_to(ROOT)) for p in SOURCES if not ast.get_docstring(ast.parse(p.read_text("utf-8")))]
    assert not silent, f"without a module docstring: {', '.join(silent)}"


# --- the tests of the test: each rule refuses what it is for


@pytest.mark.parametrize(
    ("file", "source", "fault"),
    [
        ("galflow/cutouts/x.py", "import prefect", "prefect lives in"),
        ("galflow/cutouts/x.py", "def f():\n    from distributed import Client", "distributed lives in tasks"),
        ("flows/x.py", "import dask.array", "dask lives in tasks"),
        ("galflow/x.py", "from tasks import ingest", "lies above it"),
        ("tasks/x.py", "import flows.run", "lies above it"),
        (
            "galflow/models/x.py",
            "from galflow.storage.store import Store",
            "models may import batch, constants, errors, layers",
        ),
        ("galflow/models/x.py", "from galflow import storage", "models may import batch, constants, errors, layers"),
        (
            "galflow/models/x.py",
            "from ..storage.store import Store",
            "models may import batch, constants, errors, layers",
        ),
        ("galflow/surveys/x.py", "from galflow.cutouts import cut", "surveys may import"),
        ("galflow/cutouts/x.py", "from galflow.models.vae import VAE", "cutouts may import"),
        ("galflow/training/x.py", "from galflow.scores.score import s", "training may import"),
        ("galflow/logs.py", "from galflow.storage.store import Store", "logs may import errors, variables"),
        ("galflow/scores/x.py", "from galflow.runs import plan", "scores may import"),
        ("galflow/attic/x.py", "from galflow.storage.store import Store", "has no floor"),
        ("galflow/scores/x.py", "from galflow.storage.store import _TEMPORARY", "is private"),
        ("tasks/x.py", "from galflow.cutouts._inner import f", "is private"),
        ("galflow/x.py", "import tests.conftest", "no part of the product"),
    ],
)
def test_each_rule_refuses_what_it_is_for(
    file: str, source: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    modules = {"galflow", "galflow.storage", "galflow.storage.store", "galflow.runs.plan", "galflow.cutouts.cut"}
    monkeypatch.setattr(f"{__name__}.MODULES", modules)
    assert [line for line in _faults(path) if fault in line], _faults(path)


def test_a_circle_is_found() -> None:
    assert _cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert _cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
