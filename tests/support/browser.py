"""A page as headless Chromium shows it, and as its HTML reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
from html import escape, unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


class Text(HTMLParser):
    """Tables as lists of rows of cells, and all text that is shown."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.shown: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self._name = ""
        self._cell: list[str] | None = None
        self._hidden = 0
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.append((tag, given))
        if tag in ("style", "script"):
            self._hidden += 1
        if tag == "table":
            self._name = (given.get("class") or f"table{len(self.tables)}").split()[0]
            self.tables[self._name] = []
        elif tag == "tr":
            self.tables[self._name].append([])
        elif tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag: str) -> None:
        if tag in ("style", "script"):
            self._hidden -= 1
        if tag in ("td", "th") and self._cell is not None:
            self.tables[self._name][-1].append(" ".join("".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data: str) -> None:
        if self._hidden:
            return
        self.shown.append(data)
        if self._cell is not None:
            self._cell.append(data + " ")

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.shown).split())


def browse(folder: Path, *arguments: str) -> str:
    """Run headless Chromium; what it prints. It may speak to nobody."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (requirements/system-test.txt)")
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"),
        *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
        *("--disable-sync", "--hide-scrollbars", f"--user-data-dir={folder / 'profile'}"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--disable-dev-shm-usage"),
        *arguments,
    ]
    environment = {**os.environ, "HOME": str(folder)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, check=True, env=environment
    )
    return done.stdout


#: Run in the page: what only a browser can tell. The answer comes back in the title.
PROBE = """<script>
const all = (what, inside = document) => [...inside.querySelectorAll(what)];
const shown = e => e.getBoundingClientRect().width > 0;
const alarm = document.querySelector(".alarm strong");
const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
  .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = e => {
  for (; e; e = e.parentElement) {
    const colour = numbers(getComputedStyle(e).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const contrast = (a, b) => {
  const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
};
// Elements with text of their own that is seen.
const words = all("body *").filter(e => !e.closest("svg, script, style, thead") && shown(e)
  && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
const drawings = all("figure svg").filter(shown);
const labels = svg => all("text", svg).map(e => [e, e.getBoundingClientRect()])
  .filter(([e]) => e.closest("g")?.style.opacity !== "0.2" && e.style.opacity !== "0.2"
    && !e.getAttribute("transform")?.includes("rotate(-9"));
const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
  && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
const overlaps = [], outside = [];
for (const svg of drawings) {
  const found = labels(svg), frame = svg.getBoundingClientRect();
  found.forEach(([e, box], i) => {
    if (box.left < frame.left - 1 || box.right > frame.right + 1
        || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
      outside.push(e.textContent);
    for (const [other, place] of found.slice(i + 1))
      if (meet(box, place)) overlaps.push(e.textContent + " | " + other.textContent);
  });
}
const scale = svg => svg.getBoundingClientRect().width / svg.viewBox.baseVal.width;
document.title = JSON.stringify({
  width: window.innerWidth,
  overflow: document.documentElement.scrollWidth - window.innerWidth,
  wide: all("figure .w").filter(shown).length,
  narrow: all("figure .n").filter(shown).length,
  figures: all("figure").length,
  page: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  bars: [...new Set(all("figure .w svg path").map(e => getComputedStyle(e).fill))].length,
  alarm: alarm && {size: parseFloat(getComputedStyle(alarm).fontSize),
    top: alarm.getBoundingClientRect().top},
  ids: all("[id]").length - new Set(all("[id]").map(e => e.id)).size,
  loaded: performance.getEntriesByType("resource").length,
  cut: all(".scroll").filter(e => e.scrollWidth > e.clientWidth + 1)
    .map(e => e.firstElementChild.className),
  smallest: Math.min(...words.map(e => parseFloat(getComputedStyle(e).fontSize))),
  smallest_label: Math.min(...drawings.flatMap(svg => labels(svg).map(([e]) =>
    parseFloat(getComputedStyle(e).fontSize) * scale(svg)))),
  pale: words.map(e => [contrast(numbers(getComputedStyle(e).color), behind(e)),
    e.textContent.trim().slice(0, 30)]).filter(([ratio]) => ratio < 4.5),
  overlaps, outside,
  tags: all(".tag").filter(shown).length,
});
</script>"""


#: Chromium has no window below 500 px, so the page is looked at in a frame of the width; a frame
#: has the colour scheme of the page around it.
FRAME = """<!DOCTYPE html><title>none</title><style>:root {{ color-scheme: light dark }}</style>
<iframe width="{width}" height="1000" style="border: 0" srcdoc="{page}"></iframe>
<script>
const frame = document.querySelector("iframe");
const done = () => document.title = frame.contentDocument.title;
frame.onload = done;
if (frame.contentDocument?.title.startsWith("{{")) done();
</script>"""


def probe(page: Path, folder: Path, width: int, *arguments: str) -> dict[str, Any]:
    """What Chromium makes of the page in a window of this width."""
    around = folder / f"probe-{width}.html"
    inner = page.read_text(encoding="utf-8").replace("</body>", PROBE + "</body>")
    around.write_text(FRAME.format(width=width, page=escape(inner)), encoding="utf-8")
    size = f"--window-size={width + 200},1100"
    dumped = browse(folder, size, *arguments, "--dump-dom", around.as_uri())
    title = re.search(r"<title>(\{.*?\})</title>", dumped, re.DOTALL)
    assert title is not None, dumped[:500]
    found: dict[str, Any] = json.loads(unescape(title[1]))
    return found


def png_size(data: bytes) -> tuple[int, int]:
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    width, height = struct.unpack(">II", data[16:24])
    return width, height


def check_readable(seen: dict[str, Any], width: int) -> None:
    """What holds for every report in every window: nothing cut, hidden, pale or too small."""
    assert seen["width"] == width
    assert seen["overflow"] <= 0, "the page must not scroll sideways"
    assert seen["cut"] == [], "tables with columns beyond the edge"
    assert seen["pale"] == [], "text of too little contrast (WCAG AA asks for 4.5)"
    assert seen["smallest"] >= 11
    assert seen["smallest_label"] >= 9
    assert seen["overlaps"] == [], "labels of a plot lie on each other"
    assert seen["outside"] == [], "labels of a plot are cut off"
    assert seen["ids"] == 0, "identifiers that stand twice"
    assert seen["loaded"] == 0, "the page must hold all that it needs"


def luminance(colour: str) -> float:
    red, green, blue = (int(n) for n in re.findall(r"\d+", colour)[:3])
    return (0.2126 * red + 0.7152 * green + 0.0722 * blue) / 255
