from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import pytest

from galflow.catalog.published import read_files
from galflow.errors import SpecError
from galflow.report import cards
from galflow.report.report import ReportInputs, StageRecord
from galflow.report.site.pages import PAGES, POLICY, shipped

HOSTILE = '<script>alert("x")</script> & <img src=http://evil.example/x>'

BuildReport = Callable[[ReportInputs], bytes]


class Page(HTMLParser):
    """Every tag with its attributes, and the text between tags."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(html.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.texts)).replace("\xa0", " ")

    def of(self, tag: str) -> list[dict[str, Any]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(build_report: BuildReport, finished_run: ReportInputs) -> bytes:
    return build_report(finished_run)


@pytest.fixture(scope="module")
def page(html: bytes) -> Page:
    return Page(html)


def test_it_says_what_ran(finished_run: ReportInputs, page: Page):
    for expected in (
        finished_run.run, "survey synthetic, release 1", "ranked by vae_neg_elbo", "vae.VAE", "Kingma & Welling 13",
        "band z: the tile has no such file", "missing pixels", "and 44 planted copies", "exact log likelihood",
        "free form jacobian",
        finished_run.models["vae"].card.fingerprint,
    ):  # fmt: skip
        assert expected in page.text
    assert finished_run.summary.flags.by_name
    assert "PLANTED" not in finished_run.summary.flags.by_name
    for flag in finished_run.summary.flags.by_name:
        assert flag in page.text
    for outcome, count in finished_run.summary.outcomes.by_name.items():
        assert f"{outcome} {count}" in page.text
    # Products wanted, done, partial, empty, failed, found done.
    assert re.search(r"ingest cutout sets, one a tile 3 1 1 0 1 1 \d+", page.text)
    assert re.search(r"train models 2 2 0 0 0 0 \d+", page.text)
    assert re.search(r"ingest bright cutout sets, one a tile 1 1 0 0 0 0 \d+", page.text)
    assert re.search(r"score bright score parts, one a tile 1 1 0 0 0 0 \d+", page.text)
    assert re.search(r"compare comparison of all samples 1 1 0 0 0 0 \d+", page.text)
    specification = next(text for text in page.texts if "reference_fraction:" in text)
    assert "per_tile: 22" in specification


def test_what_failed_is_said_at_the_top_and_why_below(page: Page):
    assert "1 product failed, 1 is partial: what ran says why." in page.text
    assert "ingest failed 1 DataError: the tile cannot be read; restore it t00009" in page.text
    assert "ingest partial 1 band z: the tile has no such file t00000" in page.text


def test_a_failed_model_is_named_and_a_reused_one_is_said_to_be(build_report: BuildReport, finished_run: ReportInputs):
    models = finished_run.stages["models"]
    vae, pixelcnn = finished_run.spec.models
    reused = vae.model_copy(update={"trained": "s3://else/models/vae/1"})
    spec = finished_run.spec.model_copy(update={"models": (reused, pixelcnn)})
    stages = {**finished_run.stages, "models": replace(models, failures=(("flow", "ModelError: not finite"),), made=1)}
    page = Page(build_report(replace(finished_run, spec=spec, stages=stages)))
    assert "2 products failed, 1 is partial: what ran says why. No result of flow is in this report." in page.text
    assert re.search(r"train models 3 2 0 0 1 1 \d+", page.text)  # the last: found done
    assert "Model vae is reused, not trained in this run: s3://else/models/vae/1" in page.text
    assert "reused, not trained here: s3://else/models/vae/1" in page.text


def test_a_comparison_that_failed_is_not_passed_off_as_none(build_report: BuildReport, finished_run: ReportInputs):
    failed = StageRecord((), (("bright", "SpecError: other bands"),))
    inputs = replace(finished_run, comparison=None, stages={**finished_run.stages, "comparison": failed})
    page = Page(build_report(inputs))
    assert "The samples bright were to be compared, but no comparison was made" in page.text
    assert "compare failed 1 SpecError: other bands bright" in page.text


def test_stages_must_be_given(finished_run: ReportInputs):
    with pytest.raises(SpecError, match="without models, scores; give every stage"):
        replace(finished_run, stages={"cutouts": finished_run.stages["cutouts"]})


def test_it_says_that_nothing_could_be_discovered(build_report: BuildReport, finished_run: ReportInputs, page: Page):
    found = finished_run.findings
    assert not found["resolvable"]
    assert re.sub(r"\s+", " ", found["resolution"]) in page.text
    assert "at a false discovery rate of 10%: not resolvable, see below" in page.text
    fine = replace(finished_run, findings=found | {"resolvable": True, "resolution": ""})
    assert "not resolvable" not in Page(build_report(fine)).text


def without_left_out(html: bytes) -> bytes:
    """The page but for the section of objects that training left out, which other tests read."""
    begin, end = html.index(b'<section id="left">'), html.index(b"</section>", html.index(b'<section id="left">'))
    return html[:begin] + html[end:]


def top_ids(run: ReportInputs) -> list[str]:
    """Of the objects that the report shows, by the catalogue's own ranks."""
    frame = read_files(run.store, run.catalog).to_pandas().dropna(subset="anomaly_rank")
    return [str(i) for i in frame.sort_values("anomaly_rank").object_id[: run.spec.output.top]]


def test_the_top_objects_are_the_catalogues(finished_run: ReportInputs, html: bytes):
    top, page = top_ids(finished_run), Page(without_left_out(html))
    alts = [i["alt"] for i in page.of("img")]
    shown = [re.match(r"Object (-?\d+), real$", alt) for alt in alts]
    ids = [match[1] for match in shown if match]
    assert ids[: len(top)] == top
    # The page of one object repeats the first ones for a browser without script.
    assert len(ids) == 3 * finished_run.spec.output.top
    assert len(set(ids)) == 2 * finished_run.spec.output.top
    sheet = [re.match(r"Contact sheet: object (-?\d+)$", alt) for alt in alts]
    sheets = [match[1] for match in sheet if match]
    assert top == sheets[-len(top) :]  # of the page of anomalies, which comes last but one; its own is the last sheet
    for model in ("vae", "pixelcnn"):
        assert f"Object {top[0]}, reconstruction by {model}" in alts
        assert f"Object {top[0]} minus its reconstruction by {model}, in sky sigmas" in alts


def test_pictures_state_bands_units_scale_and_side(page: Page):
    assert "Red is i, green r, blue g; flux in nJy divided by the sky sigma of its band" in page.text
    assert "Each picture is 16 pixels = 3.2 arcsec (0.2 arcsec per pixel) on a side" in page.text
    assert "+10 sky sigmas" in page.text
    assert "missing pixel" in page.text


def test_planted_anomalies_are_counted_by_kind_and_shown(finished_run: ReportInputs, page: Page):
    recall = finished_run.findings["recall_in_top_5_percent"]["vae_neg_elbo"]
    assert f"{100 * recall['value']:.0f}% [{100 * recall['low']:.0f}, {100 * recall['high']:.0f}]" in page.text
    assert re.search(r"saturated star 4( \d+ \d of 4){4}", page.text)  # rank and recall for each of four scores
    assert "ring, highest:" in page.text
    assert any(re.match(r"Object -\d+, planted: ring", i["alt"]) for i in page.of("img"))


def test_the_sample_is_compared_in_words_and_numbers(page: Page):
    assert re.search(
        r"Galaxies of bright are (MORE|LESS) probable than the sky's under pixelcnn "
        r"\(P\(bits per dim of bright > sky\) = [01]\.\d\d \[[^]]+\]; 0\.5 = alike\)",
        page.text,
    )
    assert re.search(r"bright loglike_pixelcnn nats \d+ / \d+ -?\d+", page.text)


def test_inconsistent_images_are_counted_for_every_group(finished_run: ReportInputs, page: Page):
    groups = finished_run.findings["inconsistent"]
    assert list(groups) == ["real objects", "planted copies", "bright"]
    cells = [
        f"{100 * s['value']:.0f}% [{100 * s['low']:.0f}, {100 * s['high']:.0f}]"
        for s in (group["pixelcnn_bits_per_dim"] for group in groups.values())
    ]
    assert f"pixelcnn_bits_per_dim {' '.join(cells)} -log2" in page.text


def test_what_looks_wrong_in_training_is_said(build_report: BuildReport, finished_run: ReportInputs):
    vae = finished_run.models["vae"]
    point = vae.card.curves[0]
    curves = tuple(point.model_copy(update={"epoch": e, "train_loss": float(e)}) for e in range(1, 7))
    card = vae.card.model_copy(update={"curves": curves, "metrics": {"vae_train_loss": 6.0}})
    models = finished_run.models | {"vae": replace(vae, card=card)}
    page = Page(build_report(replace(finished_run, models=models)))
    assert "Training to look at: vae; see learning curves" in page.text
    assert "vae : the training loss of vae did not fall: 1 in the first epoch, 6 as kept." in page.text


def test_nothing_is_loaded_from_anywhere(page: Page):
    own = re.compile(r"(site\.(js|css)|data/(schema|tiles|rows-00000)\.js|[a-z]+\.html(#.*)?)$")
    for tag, attrs in page.tags:
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            value = attrs.get(name)
            assert value is None or value.startswith(("data:", "#")) or own.match(value), (tag, name, value)
        assert not any(name.startswith("on") for name in attrs)
        assert "style" not in attrs
    assert all(attrs.get("src") for attrs in page.of("script"))
    assert not page.of("style")
    style = shipped("styles/site.css").decode()
    assert "url(" not in style
    assert "@import" not in style
    policies = [m["content"] for m in page.of("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    assert policies == [POLICY] * len(PAGES)
    assert "unsafe" not in POLICY


def test_every_image_has_a_text_and_the_links_have_targets(page: Page):
    assert all(len(i["alt"]) > 10 for i in page.of("img"))
    targets = {attrs.get("id") for _, attrs in page.tags}
    links = [a["href"].partition("#") for a in page.of("a")]
    assert {name.removesuffix(".html") for name, _, _ in links if name} <= {page.name for page in PAGES}
    # What holds a "=" is for the scripts.
    assert {place for _, _, place in links if place and "=" not in place} <= targets


def test_the_same_run_gives_the_same_bytes_and_few_of_them(
    build_report: BuildReport, finished_run: ReportInputs, html: bytes
):
    assert build_report(finished_run) == html
    assert len(html) < 2_000_000


def test_hostile_text_stays_text(build_report: BuildReport, finished_run: ReportInputs):
    bad = finished_run.cutouts[0].model_copy(update={"reasons": (HOSTILE,), "outcome": "partial"})
    cutouts = StageRecord((bad, *finished_run.cutouts[1:]), ((HOSTILE, HOSTILE),))
    inputs = replace(finished_run, stages={**finished_run.stages, "cutouts": cutouts}, code_versions={HOSTILE: HOSTILE})
    made = build_report(inputs)
    page = Page(made)
    assert all(attrs.get("src") for attrs in page.of("script"))
    assert all(i["src"].startswith("data:") for i in page.of("img"))
    assert made.count(b"&lt;script&gt;alert(") == 8


def test_objects_without_room_for_pictures_are_listed(
    build_report: BuildReport, finished_run: ReportInputs, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cards, "PICTURE_BYTES", 55_000)
    page = Page(without_left_out(build_report(finished_run)))
    hidden = re.search(r"(\d) more of the most anomalous objects, without pictures", page.text)
    assert hidden
    pictured = [i for i in page.of("img") if re.match(r"Object \d+, real$", i["alt"])]
    assert len(pictured) == 3 * (6 - int(hidden[1]))
    for object_id in top_ids(finished_run):
        assert str(object_id) in page.text


def test_a_run_without_planting_reconstruction_or_comparison(
    build_report: BuildReport, finished_run: ReportInputs, html: bytes
):
    spec = finished_run.spec.model_copy(
        update={
            "cutouts": finished_run.spec.cutouts.model_copy(update={"plant": None}),
            "models": finished_run.spec.models[:1],
            "comparison": finished_run.spec.comparison.model_copy(update={"samples": ()}),
        }
    )
    found = {k: v for k, v in finished_run.findings.items() if k not in ("recall_in_top_5_percent", "samples")}
    inputs = replace(
        finished_run, spec=spec, models={"vae": finished_run.models["vae"]}, comparison=None, findings=found
    )
    page = Page(build_report(inputs))
    assert "Nothing was planted in this run" in page.text
    assert "No model of this run states an exact likelihood" in page.text
    assert "No second sample was compared" in page.text
