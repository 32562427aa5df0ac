"""Data as script files: a page that was opened by a double click may neither fetch nor import anything else."""

from __future__ import annotations

import json
from typing import Any


def data_name(kind: str, index: int) -> str:
    """Of file ``index`` of a kind: its name, and what the scripts call it."""
    return f"{kind}-{index:05d}"


def data_file(name: str, content: Any) -> bytes:
    """The file ``data/<name>.js``: one call that hands its content to the scripts. NaN is refused.

    JSON is a part of JavaScript. "<" is escaped all the same: no content can end a script element.
    """
    text = json.dumps(content, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    return f"galflowData({json.dumps(name)},{text});\n".encode("ascii")
