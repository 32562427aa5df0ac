"""How `make docs` builds the site: Sphinx, MyST-NB and furo, with no request to another host from any page."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "site")]

import galflow  # noqa: E402

project = "galflow"
author = copyright = "The galflow developers"
version = release = galflow.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_copybutton", "formulas", "generated_pages", "plain_docstrings"]
exclude_patterns = ["site"]
root_doc = "index"

html_theme = "furo"
html_title = f"galflow {version}"
html_static_path = ["_static"]
html_css_files = ["galflow.css"]
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
templates_path = ["_templates"]
highlight_language = "none"
python_maximum_signature_line_length = 88

myst_enable_extensions = ["dollarmath", "deflist", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_cache_path = str(ROOT / "build" / "notebooks")
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"  # progress, and what libraries warn of

html_math_renderer = "mathml"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
