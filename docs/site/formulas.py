"""Formulas as MathML, written at build: browsers draw it by themselves, so that no page fetches a script or a font."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

_SPACE = '<mspace width="0.17em"/>'


def _mathml(formula: str, display: str) -> str:
    """A function's name stands apart from what follows it, as in print; latex2mathml leaves no space."""
    text: str = convert(formula, display=display)
    return re.sub(r"(<mi>(?:log|det|min|max|tr|asinh|KL)</mi>)(?!<mo[^>]*>&#x00028;)", r"\1" + _SPACE, text)


def _inline(translator: Any, node: nodes.math) -> None:
    translator.body.append(_mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def _block(translator: Any, node: nodes.math_block) -> None:
    formula = _mathml(node.astext(), "block")
    translator.body.append(f'<div class="formula">{formula}</div>\n')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
