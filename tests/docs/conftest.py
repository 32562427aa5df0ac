"""One small run of the plug-ins of examples/plugins, published once by the real command. All tests here share it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).resolve().parents[2]
PLUGINS = PROJECT / "examples" / "plugins"
_SECONDS = 200


def _load(path: Path) -> ModuleType:
    """The module of a file, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"docs_{path.stem}_{abs(hash(path))}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@dataclass(frozen=True)
class PublishedRun:
    """The run of examples/plugins/plugins.yaml, ended."""

    folder: Path
    """Its store is ``galflow-out`` in here, its tiles are in ``tiles``."""
    process: subprocess.CompletedProcess[str]

    @property
    def root(self) -> str:
        """Its store."""
        return str(self.folder / "galflow-out")


@pytest.fixture(scope="session")
def load() -> Callable[[Path], ModuleType]:
    """``load(path)``: the module of a file."""
    return _load


@pytest.fixture(scope="session")
def plugins_on_path() -> None:
    """my_model and my_survey can be imported, here and in what is started from here."""
    sys.path.insert(0, str(PLUGINS))


@pytest.fixture(scope="session")
def published(
    plugins_on_path: None, make_prefect_home: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> PublishedRun:
    """As docs/howto/model_plugin.md says: tiles are made, then `galflow run` runs both plug-ins."""
    folder = tmp_path_factory.mktemp("published")
    _load(PLUGINS / "make_tiles.py").write_tiles(folder / "tiles", tiles=2, tile_size=320, objects_per_tile=40)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "GALFLOW_"))}
    own = {
        "PYTHONPATH": os.pathsep.join([str(PLUGINS), str(PROJECT)]),
        "MY_TILES": str(folder / "tiles"),
        "PREFECT_HOME": str(make_prefect_home("docs")),
        "OMP_NUM_THREADS": "1",
    }
    words = [sys.executable, "-m", "flows.cli", "run", str(PLUGINS / "plugins.yaml"), "--root", "galflow-out"]
    process = subprocess.run(
        words, env=kept | own, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    if process.returncode:
        pytest.fail(f"the run of the plug-ins ended with {process.returncode}:\n{process.stdout}\n{process.stderr}")
    return PublishedRun(folder, process)
