from __future__ import annotations

import hashlib
import re
from pathlib import Path

import galflow.report.site

SITE = Path(galflow.report.site.__file__).parent


def test_the_built_script_is_of_these_sources():
    digest = hashlib.sha256()
    for path in sorted((SITE / "scripts").iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    digest.update((SITE / "package-lock.json").read_bytes())
    built = (SITE / "built/site.js").read_text()
    said = re.match(r"/\* galflow pages; sources sha256 ([0-9a-f]{64}) \*/", built)
    assert said is not None
    assert said[1] == digest.hexdigest(), "built/site.js is older than scripts/: run `make pages`"


def test_scripts_make_no_page_out_of_text():
    for path in (SITE / "scripts").iterdir():
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function|document\.write", path.read_text()
        )
