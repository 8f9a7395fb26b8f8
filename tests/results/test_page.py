"""The report, read as a browser reads it (headless Chromium), on synthetic results."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pico_image.base.console import Console
from pico_image.results.report import write_report
from tests.support import synthetic_results as synthetic
from tests.support.browser import Text, browse, check_readable, luminance, png_size, probe
from tests.support.synthetic_results import Keep


@pytest.mark.slow
def test_page_of_a_board(keep: Keep, tmp_path: Path) -> None:
    keep("run")
    page = write_report(Console(), ["run"])
    assert page == tmp_path / "out" / "reports" / "run" / "index.html"
    text = Text(page.read_text(encoding="utf-8"))

    times = text.tables["times"]
    assert times[0] == [
        "Configuration",
        "Stage",
        "p50",
        "p90",
        "p99",
        "max",
        "CV",
        "runs",
        "failed",
    ]
    assert [row[0] for row in times[1::2]] == ["CPU float32", "CPU int8", "NPU int8"]
    for row, kind in zip(times[1::2], synthetic.CENTRES, strict=True):
        centre = synthetic.CENTRES[kind][2] / 1000
        assert float(row[2].split()[0]) == pytest.approx(centre, rel=0.01)
        assert row[7:] == ["120", "0"]

    study = text.tables["study"]
    assert [row[:2] for row in study[1:]] == [["CPU float32", "1481.0"], ["NPU int8", "14.96"]]
    assert [row[3] for row in study[1:]] == ["1738.0", "67.6"]
    assert [row[2] for row in study[1:]] == ["641", "16.4"]

    peak = {row[0]: row for row in text.tables["peak"][1:]}
    # 2 * 300774272 operations in 16.43 ms; 512 a cycle at 420 MHz.
    assert float(peak["NPU int8"][1]) == pytest.approx(36.6, abs=0.1)
    assert peak["NPU int8"][2] == "430 512 a cycle"
    assert peak["NPU int8"][3] == "8.5 %"
    assert peak["CPU float32"][2].startswith("2.21 ")

    answers = text.tables["answers"]
    assert answers[1] == ["chelsea.png"] + ["tabby (281) right"] * 3
    assert text.tables["agreement"][1] == ["CPU int8 with CPU float32", "3 of 3", "4.0", "0.9931"]
    assert "\N{MULTIPLICATION SIGN}39.0" in text.text
    assert "NPU = PC: exact, 2 of 6 vectors" in text.text
    assert "EMULATED" not in text.text
    assert "SIMULATED" not in text.text
    assert len([tag for tag, _ in text.tags if tag == "figure"]) == 3

    names = sorted(path.name for path in page.parent.glob("*.png"))
    assert names == [f"{kind}-mobilenet-v2.png" for kind in ("distribution", "roofline", "stages")]
    assert all(png_size((page.parent / name).read_bytes())[0] > 1400 for name in names)

    seen = probe(page, tmp_path, 1400)
    check_readable(seen, 1400)
    assert seen["overflow"] <= 0
    assert (seen["wide"], seen["narrow"]) == (3, 0)
    assert seen["bars"] > 4, "the stages need colours"
    assert seen["alarm"] is None
    assert seen["ids"] == 0, "identifiers that stand twice"
    assert seen["loaded"] == 0, "the page must hold all that it needs"


@pytest.mark.slow
def test_page_of_the_emulator_says_so_everywhere(keep: Keep, tmp_path: Path) -> None:
    keep("run", emulated=True, simulated=True, names=("efficientnet-lite0",))
    page = write_report(Console(), ["run"], tmp_path / "page")
    html = page.read_text(encoding="utf-8")
    text = Text(html)
    label = "EMULATED CPU · SIMULATED NPU"
    assert f"({label})" in html[html.index("<title>") : html.index("</title>")]
    headings = re.findall(r"<h3>(.*?)</h3>", html)
    for heading in ("Times", "The study", "Where the time goes", "How the times", "Share of peak"):
        assert any(h.startswith(heading) and label in h for h in headings), heading
    for drawing in re.findall(r"<svg viewBox.*?</svg>", html, re.DOTALL):
        assert "EMULATED CPU" in drawing
        assert "SIMULATED NPU" in drawing
    # No ratio of times, no share of peak.
    assert "\N{MULTIPLICATION SIGN}" not in text.text.replace("224\N{MULTIPLICATION SIGN}224", "")
    assert all(row[1] == "withheld: emulated CPU" for row in text.tables["peak"][1:])
    assert "roofline" not in html
    assert "another network" in text.text
    assert "these columns do not compare" in text.text
    markdown = (page.parent / "report.md").read_text(encoding="utf-8")
    assert f"**{label}**" in markdown
    assert "withheld: emulated CPU" in markdown
    for match in re.findall(r"\]\((.*?\.png)\)", markdown):
        width, height = png_size((page.parent / match).read_bytes())
        assert width > 1000
        assert height > 200

    light = probe(page, tmp_path, 400)
    check_readable(light, 400)
    assert light["overflow"] <= 0
    assert (light["wide"], light["narrow"]) == (0, 2)
    assert light["alarm"]["size"] >= 19
    assert light["alarm"]["top"] < 400, "the warning must be seen without scrolling"
    dark = probe(page, tmp_path, 1400, "--blink-settings=preferredColorScheme=0")
    check_readable(dark, 1400)
    assert dark["page"] != light["page"]
    assert dark["ink"] != light["ink"]
    assert luminance(dark["page"]) < 0.1 < 0.8 < luminance(light["page"])


@pytest.mark.slow
def test_page_prints(keep: Keep, tmp_path: Path) -> None:
    keep("run", emulated=True)
    page = write_report(Console(), ["run"])
    pdf = tmp_path / "page.pdf"
    browse(tmp_path, f"--print-to-pdf={pdf}", "--no-pdf-header-footer", page.as_uri())
    data = pdf.read_bytes()
    assert data.startswith(b"%PDF")
    pages = len(re.findall(rb"/Type\s*/Page\b", data))
    assert 2 <= pages <= 8


@pytest.mark.slow
def test_phone_in_the_dark(keep: Keep, tmp_path: Path) -> None:
    """Several results of different kinds, one with a configuration that failed."""
    failed = synthetic.result(names=("mobilenet-v2", "efficientnet-lite0"))
    npu = failed["models"][0]["configurations"][2]
    npu.update(pictures=[], rounds=0, failure="rknn_init failed: the model needs more memory")
    keep("20261125T081055Z-luckfox-pico-mini-with-a-long-name", failed)
    keep("emulated", emulated=True, simulated=True, runs=1)
    names = ["20261125T081055Z-luckfox-pico-mini-with-a-long-name", "emulated"]
    page = write_report(Console(), names)
    dark = probe(page, tmp_path, 400, "--blink-settings=preferredColorScheme=0")
    check_readable(dark, 400)
    text = Text(page.read_text(encoding="utf-8"))
    rows = text.tables["overview"]
    assert [row[1:3] for row in rows[1:3]] == [
        ["MobileNetV2", "CPU float32"],
        ["MobileNetV2", "CPU int8"],
    ]
    assert [row[0] for row in rows[-3:]] == ["emulated EMULATED CPU · SIMULATED NPU"] * 3
    assert len(rows) == 1 + 5 + 3
    assert dark["tags"] > 8


FAULTY = """<!DOCTYPE html><title>x</title><body style="background: #fff">
<p style="color: #999; font-size: 8px">pale and small</p>
<div class="scroll" style="overflow-x: auto; width: 100px"><table class="far"><tr><td>
<div style="width: 300px">beyond</div></td></tr></table></div>
<figure><svg class="w" viewBox="0 0 100 50" width="400">
<text x="10" y="20" style="font-size: 1px">tiny</text>
<text x="30" y="20" style="font-size: 8px">one</text>
<text x="34" y="21" style="font-size: 8px">other</text>
<text x="90" y="40" style="font-size: 8px">cut off</text></svg></figure>
</body>"""


def test_the_eye_sees_faults(tmp_path: Path) -> None:
    """Of check_readable: each of its questions has an answer that is wrong."""
    page = tmp_path / "faulty.html"
    page.write_text(FAULTY)
    seen = probe(page, tmp_path, 400)
    assert seen["cut"] == ["far"]
    assert [text for _, text in seen["pale"]] == ["pale and small"]
    assert seen["smallest"] == 8
    assert seen["smallest_label"] == 4
    assert seen["overlaps"] == ["one | other"]
    assert seen["outside"] == ["cut off"]
