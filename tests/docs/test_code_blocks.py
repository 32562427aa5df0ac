"""What README and docs show is true: specifications parse, commands exist with their options, Python runs, links lead.

Of a shell's lines those that begin with galflow or make are checked, and not run. The cells of notebooks are run when
the site is built (test_site.py); here they must be Python.
"""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
import typer
import yaml
from markdown_it import MarkdownIt

import galflow
from flows.allowances import Allowances
from flows.cli import app
from galflow.errors import SpecError
from galflow.models.base import all_models
from galflow.spec.emulation import EmulationSpec
from galflow.spec.form import run_schema
from galflow.spec.run import RunSpec, parse_spec
from galflow.surveys.resolve import survey_options

if TYPE_CHECKING:
    from conftest import PublishedRun

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "benchmarks/*.md")
    for path in PROJECT.glob(pattern)
    if path.parent.name != "generated"
)
LANGUAGES = {"bash", "python", "text", "yaml"}
OTHER_YAML = {"scrape_configs"}
"""First keys of YAML that is no specification: Prometheus'."""
LONGEST_README = 120
UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""Click's, of the click that typer has in itself."""


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: Path
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(PROJECT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    """Those of a page, in its order."""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        if token.type == "fence":
            assert token.map is not None
            yield Block(page, token.map[0] + 1, token.info.strip(), token.content)


BLOCKS = [block for page in PAGES for block in blocks(page)]


def of(*languages: str) -> pytest.MarkDecorator:
    """The blocks of these languages as parameters."""
    found = [block for block in BLOCKS if block.language.split(" ")[0] in languages]
    return pytest.mark.parametrize("block", found, ids=str)


@cache
def schema() -> dict[str, Any]:
    return run_schema(survey_options(), all_models())


@cache
def command() -> Any:
    return typer.main.get_command(app)


def test_every_block_says_what_it_is() -> None:
    unknown = [str(block) for block in BLOCKS if block.language not in LANGUAGES and not block.language.startswith("{")]
    assert not unknown, f"blocks in none of {', '.join(sorted(LANGUAGES))}: {unknown}"
    assert {block.language for block in BLOCKS} >= LANGUAGES


def check_yaml(text: str) -> None:
    """A whole specification, some parts of one, or what a service's owner allows."""
    document = yaml.safe_load(text)
    keys = set(document)
    if keys <= OTHER_YAML:
        return
    if keys <= set(Allowances.model_fields):
        Allowances.model_validate(document)
        return
    if "telescope" in keys:
        EmulationSpec.model_validate(document)
        return
    if {"name", "survey", "models"} <= keys:
        parse_spec(document)
    else:
        if unknown := keys - set(RunSpec.model_fields):
            raise SpecError(f"{sorted(unknown)} are no parts of a specification")
        # A part alone is as valid as in a whole: the rest is what every run has.
        rest = {"name": "a", "survey": {"kind": "hubble"}, "models": [{"name": "a", "model": "kmeans.KMeans"}]}
        parse_spec(rest | document)
    for key, value in document.items():
        # Options of survey kinds and models are known to the schema alone.
        jsonschema.validate(value, schema()["properties"][key] | {"$defs": schema()["$defs"]})


@of("yaml")
def test_specifications_are_valid(block: Block) -> None:
    check_yaml(block.text)


@pytest.mark.parametrize(
    "text",
    [
        "cluster: {kind: local, worker: 8}",
        "clusters: {kind: local}",
        "survey: {kind: fits_tiles, options: {root: x, bands: {g: a}, zeropoint: 25}}",
        "name: a\nsurvey: {kind: hubble}\nmodels: [{name: v, model: vae.VAE, options: {widths: 3}}]",
    ],
)
def test_a_wrong_specification_would_be_noticed(text: str) -> None:
    with pytest.raises((SpecError, jsonschema.ValidationError)):
        check_yaml(text)


def shell_lines(text: str) -> list[list[str]]:
    """The words of each command of a block, without comments; a line that ends with a backslash goes on."""
    lines = text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def check_command(words: list[str]) -> None:
    """UsageError for a command, an argument or an option of galflow that there is not."""
    name = words[1]
    found = command().commands.get(name)
    if found is None:
        raise UsageError(f"galflow has no command {name}")
    found.make_context(name, words[2:])


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@of("bash")
def test_commands_exist(block: Block) -> None:
    for line in block.text.replace("\\\n", " ").splitlines():
        if line.startswith("galflow "):
            (words,) = shell_lines(line)
            check_command(words)
        elif line.startswith("make "):
            (words,) = shell_lines(line)
            assert {word for word in words[1:] if "=" not in word} <= make_targets(), line


@pytest.mark.parametrize("line", ["galflow run a.yaml --rot x", "galflow runn a.yaml", "galflow plan", "galflow gc -d"])
def test_a_wrong_command_would_be_noticed(line: str) -> None:
    with pytest.raises(UsageError):
        check_command(shlex.split(line))


@of("{code-cell}")
def test_cells_of_notebooks_are_python(block: Block) -> None:
    ast.parse(block.text)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.page == p and b.language == "python" for b in BLOCKS)], ids=lambda p: p.name
)
def test_python_runs(page: Path, published: PublishedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """All blocks of a page in one namespace, beside the store of a small run."""
    monkeypatch.chdir(published.folder)
    namespace: dict[str, Any] = {}
    for block in blocks(page):
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), namespace)


def links(page: Path) -> Iterator[str]:
    """Targets of a page's links and images, without those to other hosts and those within the page."""
    for token in MarkdownIt().parse(page.read_text(encoding="utf-8")):
        for child in token.children or []:
            target = str(child.attrs.get("href") or child.attrs.get("src") or "")
            if target and not target.startswith("#") and "://" not in target:
                yield target.partition("#")[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(PROJECT)))
def test_links_lead_somewhere(page: Path) -> None:
    """Pages below docs/generated are written when the site is built."""
    missing = [t for t in links(page) if not (page.parent / t).exists() and Path(t).parent.name != "generated"]
    assert not missing


def test_readme_is_short_and_keeps_its_two_commands() -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) < LONGEST_README
    assert {"make demo", "make test"} <= {line.split("#")[0].strip() for line in text.splitlines()}


def test_there_is_one_version() -> None:
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))
    changes = re.findall(r"^## (\d\S*)", (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert citation["version"] == changes[0] == galflow.__version__
    assert "version" in project["project"]["dynamic"], "the version stands in galflow/__init__.py alone"
    assert {a["name"] for a in project["project"]["authors"]} == {a["name"] for a in citation["authors"]}
    assert project["project"]["license"] == citation["license"]
