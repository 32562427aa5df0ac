"""The pictures of the most anomalous objects on a run's page: what the artifact holds of a run that was published."""

from __future__ import annotations

import base64
import io
import re
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

import galflow
from tasks.top_objects import COUNT, shown_text, top_markdown

if TYPE_CHECKING:
    from conftest import Finished


def test_twelve_objects_have_a_picture_a_name_and_scores(undisturbed: Finished) -> None:
    run = galflow.open_run(undisturbed.root)
    head, _, *lines = top_markdown(run).splitlines()
    assert head == "| rank | picture | object | score | what it is |"
    best = run.top(COUNT, columns=["object_id", "anomaly_rank", "anomaly_score_sigma", "tile", "row"])
    assert len(lines) == len(best) == COUNT
    for line, row in zip(lines, best.to_dict("records"), strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[0] == str(row["anomaly_rank"])
        assert cells[2].startswith(f"**{row['object_id']}**<br>")
        assert cells[2].endswith(f"row {row['row']}")
        assert cells[3].startswith(f"{row['anomaly_score_sigma']:.1f} sigma")
        (source,) = re.findall(r'src="data:image/png;base64,([^"]+)"', cells[1])
        picture = Image.open(io.BytesIO(base64.b64decode(source)))
        assert picture.size == (16, 16)
        drawn, stored = np.asarray(picture.convert("RGB")), run.cutout(row["object_id"]).picture()
        # North is up and east left: this survey's rows go north, its columns west.
        np.testing.assert_array_equal(drawn, stored[::-1])


def test_what_a_survey_says_is_text() -> None:
    wild = '<script>alert(1)</script> | [x](javascript:1) **b** & www.x.org "q" \\ `c`\n# h'
    shown = shown_text(wild)
    assert re.fullmatch(r"[\w ,+=()/&#;-]+", shown)
    assert re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), shown) == " ".join(wild.split())
    assert shown_text("NGC 4038/39 (Arp 244)") == "NGC 4038/39 (Arp 244)"
