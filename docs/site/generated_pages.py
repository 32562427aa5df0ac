"""Pages that say what the code says: specification, command line, catalogue columns, models; and copies of READMEs.

They are written into docs/generated before Sphinx reads its sources, and are no part of the repository. Links between
the repository's Markdown files work both there and in the site: a link to a README that is copied leads to its copy.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
COPIES = {
    "deploy/README.md": "deploy",
    "deploy/slurm/README.md": "slurm",
    "benchmarks/README.md": "benchmarks",
    "CONTRIBUTING.md": "contributing",
    "SECURITY.md": "security",
    "CHANGELOG.md": "changes",
    "README.md": "readme",
}
"""Markdown of the repository -> name of its copy below docs/generated. README.md is no page: it leads to index."""
_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def relinked(text: str, source: Path, page: Path) -> str:
    """``text`` of the Markdown file ``source`` as the page ``page``, with its relative links leading to the same."""

    def link(match: re.Match[str]) -> str:
        target = match[2]
        if "://" in target or target.startswith(("/", "mailto:")):
            return match[0]
        file = Path(os.path.normpath(source.parent / target))
        name = COPIES.get(str(file.relative_to(ROOT))) if file.is_relative_to(ROOT) else None
        if name is not None:
            file = DOCS / ("index.md" if name == "readme" else f"generated/{name}.md")
        if file.is_dir():  # a folder has no page
            return f"{match[1]}{_folder_page(file, page)})"
        return f"{match[1]}{os.path.relpath(file, page.parent)}{match[3]}"

    return _LINK.sub(link, text)


def _folder_page(folder: Path, page: Path) -> str:
    """Of a folder that is linked to: its README's copy where there is one, else its first file."""
    name = COPIES.get(str(folder.relative_to(ROOT) / "README.md"))
    file = DOCS / f"generated/{name}.md" if name else next(p for p in sorted(folder.iterdir()) if p.is_file())
    return os.path.relpath(file, page.parent)


def specification() -> str:
    """A section a part, a row a field."""
    from galflow.models.base import all_models
    from galflow.spec.form import run_schema
    from galflow.spec.pages import PartHelp, part_help, parts
    from galflow.surveys.resolve import survey_kinds, survey_options

    schema = run_schema(survey_options(), all_models())
    kinds, models = set(survey_kinds()), set(all_models())

    def section(part: PartHelp) -> list[str]:
        lines = [f"### {part.name}", "", _escaped(part.about), ""]
        if not part.fields:
            return [*lines, "It has no options.", ""]
        lines += ["| field | value | default | what it is |", "|---|---|---|---|"]
        for field in part.fields:
            allowed = f"; {_code(field.allowed)}" if field.allowed else ""
            value = re.sub(r"part ([\w.]+)", lambda m: f"[{m[1]}](#{_anchor(m[1])})", field.type) + allowed
            default = field.default if field.default == "required" else _code(field.default)
            lines.append(f"| `{field.name}` | {value} | {default} | {_escaped(field.help)} |")
        return [*lines, ""]

    lines = [
        "# The specification",
        "",
        "Every field of a specification, generated from the schema that galflow itself checks it with. The same pages "
        "stand in a terminal: `galflow schema training`, `galflow schema fits_tiles`, `galflow schema vae.VAE`. "
        "`galflow schema --json` prints the JSON schema, which editors use to complete and check YAML.",
        "",
        "## The parts of a run",
        "",
    ]
    headings = {
        "fits_tiles": ["## Options of each kind of survey", "", "They stand under `survey.options`.", ""],
        "autoencoder.Autoencoder": ["## Options of each model", "", "They stand under a model's `options`.", ""],
    }
    names = list(parts(schema))
    first_kind = next(name for name in names if name in kinds)
    first_model = next(name for name in names if name in models)
    for name in names:
        if name == first_kind:
            lines += headings["fits_tiles"]
        if name == first_model:
            lines += headings["autoencoder.Autoencoder"]
        lines += section(part_help(schema, name))
    return "\n".join(lines)


def _anchor(name: str) -> str:
    """The address of a heading, as GitLab and MyST make it."""
    return re.sub(r"[^\w-]", "", name.lower())


def _escaped(text: str) -> str:
    """Plain text for a Markdown table: ``code`` and `code` stay code."""
    parts = re.split(r"(``.+?``|`[^`]+`)", text)
    return "".join(
        part.replace("|", r"\|") if i % 2 else re.sub(r"([\\*_<>\[\]|$])", r"\\\1", part)
        for i, part in enumerate(parts)
    )


def _code(text: str) -> str:
    """Limits and defaults: patterns and JSON as code, words as words."""
    if re.search(r"[\[{\"^$]", text):
        return "`" + text.removeprefix("pattern ").replace("|", r"\|") + "`"
    return text


def command_line() -> str:
    """What `galflow COMMAND --help` prints, of all commands."""
    import typer
    from typer.cli import get_docs_for_click

    from flows.cli import app

    command = typer.main.get_command(app)
    text = get_docs_for_click(obj=command, ctx=typer.Context(command), name="galflow", title="The command line")
    # The values' types are Python's: the name of an option says what it is.
    text = re.sub(r"<([a-z]+)( range)?>", lambda m: {"str": "TEXT", "int": "N"}.get(m[1], m[1].upper()), text)
    # The list of commands is cut off after a few words; here is room for a whole line.
    names = [f"* [`{n}`](#galflow-{n}): {(c.help or '').splitlines()[0]}" for n, c in command.commands.items()]
    text = re.sub(r"(\*\*Commands\*\*:\n\n)(\* .*\n)+", lambda m: m[1] + "\n".join(names) + "\n", text, count=1)
    lines = [line for line in text.splitlines() if line != "* `--help`: Show this message and exit."]
    text = re.sub(r"\*\*Options\*\*:\n\n(?=\n|$|#)", "", "\n".join(lines))
    codes = [
        "## Exit codes",
        "",
        "| code | meaning |",
        "|---|---|",
        "| 0 | done |",
        "| 1 | something failed, or a verification found a fault; what it was is listed |",
        "| 2 | the specification or an argument is wrong; every fault is named, and no work was done |",
        "| 130 | Ctrl-C |",
    ]
    return "\n".join([text, "", *codes, ""])


def catalogue() -> str:
    """Every column with type, unit, description and UCD, and every flag."""
    from galflow.catalog.schema import catalog_schema
    from galflow.cutouts.flags import Flag

    likelihoods = ("loglike_MODEL", "bpd_MODEL", "llr_MODEL_BACKGROUND")
    schema = catalog_schema(["MODEL_SCORE"], likelihoods, pa.schema([]), pa.int64(), True)
    lines = [
        "# Catalogue columns",
        "",
        "The columns that galflow makes, generated from the schema that every written file is held to. MODEL is the "
        "name of a model in your specification, SCORE one of its scores, BACKGROUND its background model. Unit, "
        "description and UCD stand in the Parquet fields' metadata and in FITS headers too. After these columns come "
        "your own and the survey's, or those that `output.columns` names.",
        "",
        "A value that galflow could not compute is null, and `outcome` says why. No column of galflow's holds NaN.",
        "",
        "| column | type | unit | UCD | what it is |",
        "|---|---|---|---|---|",
    ]
    for field in schema:
        said = {key.decode(): value.decode() for key, value in field.metadata.items()}
        kind = str(field.type).replace("double", "float64") + (
            " or uint64" if field.name.endswith(("_id", "_in_tile")) and str(field.type) == "int64" else ""
        )
        description = "sum of the bits below" if field.name == "flags" else said["description"]
        unit = said["unit"] or "-"
        lines.append(f"| `{field.name}` | {kind} | {unit} | {said['ucd']} | {_escaped(description)} |")
    meaning = ModuleAnalyzer.for_module(Flag.__module__).find_attr_docs()
    lines += ["", "## Flags", "", "| bit | name | what it says |", "|---|---|---|"]
    lines += [
        f"| {flag.value} | `{flag.name}` | {_escaped(' '.join(meaning['Flag', str(flag.name)]).strip())} |"
        for flag in Flag
    ]
    return "\n".join([*lines, ""])


def models() -> str:
    """Every model's class, from its docstring."""
    from galflow.models.base import all_models

    lines = ["# Model classes", "", "Every model from its own docstring; its options are its keyword arguments.", ""]
    for name, model in all_models().items():
        options = f"[its options](specification.md#{_anchor(name)})"
        lines += [f"## {name}", "", f"Source: {_escaped(model.source)}; {options}", ""]
        lines += ["| score | what it measures |", "|---|---|"]
        lines += [f"| `{score}` | {_escaped(meaning)} |" for score, meaning in model.scores.items()]
        lines += [
            "",
            "```{eval-rst}",
            f".. autoclass:: {model.__module__}.{model.__name__}",
            "   :no-members:",
            "```",
            "",
        ]
    return "\n".join(lines)


PAGES: dict[str, Callable[[], str]] = {
    "specification": specification,
    "command_line": command_line,
    "catalogue": catalogue,
    "models": models,
}


def write_pages(app: Sphinx) -> None:
    """All of them; a page that says what it said before is left alone, so that Sphinx does not read it again."""
    folder = DOCS / "generated"
    folder.mkdir(exist_ok=True)
    texts = {name: make() for name, make in PAGES.items()}
    for file, name in COPIES.items():
        if name != "readme" and (ROOT / file).is_file():
            texts[name] = relinked((ROOT / file).read_text(encoding="utf-8"), ROOT / file, folder / f"{name}.md")
    for name, text in texts.items():
        page = folder / f"{name}.md"
        if not page.is_file() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _complete(app: Sphinx, page: str, content: list[str]) -> None:
    """A page's links lead to the site's pages; a folder's README has its neighbours below it in the contents."""
    file = Path(app.env.doc2path(page))
    if file.parent.name != "generated":
        content[0] = relinked(content[0], file, file)
    if file.name == "README.md":
        beside = "\n".join(sorted(other.stem for other in file.parent.glob("*.md") if other != file))
        content[0] += f"\n\n```{{toctree}}\n:hidden:\n\n{beside}\n```\n"


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", _complete)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
