"""`make docs`: the site builds without a warning, the tutorial runs, and no page asks another host for anything."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
MODULES = ("sphinx", "myst_nb", "furo", "sphinx_copybutton", "latex2mathml")
REQUEST = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["'](?:https?:)?//[^"']*["']""")
"""What a browser fetches by itself; a link that somebody may click is none."""
SECONDS = 900

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in MODULES), reason="Sphinx is not installed: galflow[docs]"
    ),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages."""
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-D", "nb_execution_mode=force"]
    done = subprocess.run(
        [*words, "-d", str(folder / "doctrees"), str(PROJECT / "docs"), str(folder / "html")],
        env=os.environ | {"PYTHONPATH": str(PROJECT), "PREFECT_HOME": str(folder / "prefect")},
        capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "html"


@pytest.mark.timeout(SECONDS + 60)
def test_builds_without_a_warning_and_the_tutorial_has_its_output(site: Path) -> None:
    tutorial = (site / "tutorial.html").read_text(encoding="utf-8")
    assert tutorial.count('class="cell_output') >= 8
    assert "vae_reconstruction_sigma" in tutorial
    assert (site / "searchindex.js").stat().st_size > 10_000


@pytest.mark.timeout(SECONDS + 60)
def test_no_page_asks_another_host(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 30
    found = {page.name: hits for page in pages if (hits := REQUEST.findall(page.read_text(encoding="utf-8")))}
    styles = [
        style.name
        for style in site.rglob("*.css")
        if re.search(r"(?:url\(|@import )[\"']?(?:https?:)?//", style.read_text(encoding="utf-8"))
    ]
    assert (found, styles) == ({}, [])
