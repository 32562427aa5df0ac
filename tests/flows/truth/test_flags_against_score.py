"""The figure of flags against the score, in the published report, is that of the published catalogue."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import numpy as np

from galflow.cutouts.flags import Flag
from galflow.report.flag_words import FLAG_WORDS

if TYPE_CHECKING:
    from conftest import Truth


def test_the_report_shows_the_share_of_every_flag_that_occurs(truth: Truth) -> None:
    html = (truth.root / f"reports/{truth.run.manifest.run}/scores.html").read_text()
    (section,) = re.findall(r'<section id="flagged">.*?</section>', html, re.DOTALL)
    (data,) = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", section)
    drawn = base64.b64decode(data).decode()
    ranked = np.asarray(truth.columns["is_primary"], bool) & np.isfinite(truth.columns["anomaly_rank"].astype(float))
    flags, rank = truth.columns["flags"][ranked].astype(np.int64), truth.columns["anomaly_rank"][ranked]
    occurring = [flag for flag in Flag if (flags & int(flag) != 0).any()]
    assert Flag.SATURATED in occurring
    for flag in occurring:
        has = flags & int(flag) != 0
        told = f"{100 * has.mean():.2g}% of all"
        for top in (0.01, 0.05, 0.1):  # the smallest of which there are twenty objects
            if top * len(rank) >= 20:
                told += f", {100 * has[rank <= top * len(rank)].mean():.2g}% of the top {100 * top:.2g}%"
                break
        assert f"<!-- {FLAG_WORDS[flag]} -->" in drawn
        assert f"<!-- {told} -->" in drawn, told
    assert drawn.count("% of all") == len(occurring)
    assert 'id="groups"' not in html, "nobody asked for groups"
