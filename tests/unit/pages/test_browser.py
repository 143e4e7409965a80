"""The pages in a real browser: they load without a word, draw every picture, and ask nothing of any network."""

import html
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from charaloom.config.params import Report
from charaloom.diffusion.generation import escaped_for_a1111
from charaloom.pages.render import render_page
from charaloom.pages.report import write_report
from charaloom.pages.standing import Standing
from charaloom.pages.status import page_content
from tests.html_page import Page
from tests.small_results import CHARACTER, HOSTILE, NAMES, SETTINGS, write_curation, write_outfits, write_results

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
ALONE = ["--disable-background-networking", "--disable-component-update", "--no-first-run"]
LOGGING = ["--enable-logging=stderr", "--v=0"]
PROBE = """<script>
addEventListener("load", function () {
  function all(selector) { return Array.from(document.querySelectorAll(selector)); }
  function shown() { return all("figure:not([hidden])").length; }
  var probe = {
    images: document.images.length,
    broken: all("img").filter(function (image) { return !image.naturalWidth; }).length,
    loaded: performance.getEntriesByType("resource").map(function (entry) { return entry.name; }),
    figures: shown(),
    nav: getComputedStyle(document.querySelector("nav") || document.body).position,
    overflow: document.documentElement.scrollWidth - innerWidth
  };
  var box = document.querySelector("nav input");
  if (box) {
    box.value = "FIND";
    box.dispatchEvent(new Event("input"));
    probe.found = shown();
    probe.sections = all("main section:not([hidden])").map(function (section) { return section.id; });
  }
  document.documentElement.dataset.probe = JSON.stringify(probe);
});
</script>
</body>"""


@pytest.fixture(scope="module")
def browser() -> str:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail("there is no chromium for this test: apt-get install chromium, or run .ci/run, which does it")
    return program


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A character whose pages are both written."""
    folder = write_results(tmp_path_factory.mktemp("browser") / CHARACTER)
    write_curation(folder)
    write_outfits(folder)
    page, manifest = folder / "report.html", folder / "report.manifest.json"
    write_report(CHARACTER, Report(version=1), folder, [], [folder / "model.manifest.json"], page, manifest)
    return folder


@pytest.fixture
def opened(browser: str, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Open a file with more options; what the page says on its console comes out on stderr."""

    def run(file: Path, *options: str) -> subprocess.CompletedProcess[str]:
        command = [
            browser,
            *QUIET,
            *ALONE,
            *LOGGING,
            f"--user-data-dir={tmp_path / 'profile'}",
        ]
        return subprocess.run([*command, *options, file.as_uri()], text=True, capture_output=True, timeout=120)

    return run


@pytest.fixture
def probed(opened: Any, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """What the browser makes of a page: the page with a script at its end that counts, and all pictures loaded."""

    def probe(page: str, find: str = "") -> dict[str, Any]:
        eager = page.replace('loading="lazy"', 'loading="eager"')
        (tmp_path / "page.html").write_text(eager.replace("</body>", PROBE.replace("FIND", find)))
        done = opened(tmp_path / "page.html", "--window-size=500,800", "--dump-dom")
        counted = re.search(r'data-probe="([^"]*)"', done.stdout)
        assert counted, done.stderr
        said = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        return {**json.loads(html.unescape(counted[1])), "said": said}

    return probe


@pytest.mark.parametrize(("name", "least"), [("curation", 6), ("report", 6), ("outfits", 3), ("previews", 6)])
def test_a_page_loads_all_of_itself_and_nothing_else(results: Path, probed: Any, name: str, least: int) -> None:
    text = (results / f"{name}.html").read_text()
    seen = probed(text)
    page = Page(text)
    assert seen["said"] == []
    assert seen["loaded"] == []
    assert seen["broken"] == 0
    assert (seen["images"], seen["figures"]) == (len(page.all("img")), len(page.all("figure")))
    assert seen["images"] >= least
    assert seen["nav"] == "sticky"
    assert seen["overflow"] <= 0


def test_the_probe_sees_a_page_that_is_not_well(probed: Any) -> None:
    seen = probed('<html><body><img src="http://127.0.0.1:9/x.png"><script>throw 1</script></body></html>')
    assert seen["broken"] == 1
    assert seen["loaded"] == ["http://127.0.0.1:9/x.png"]
    assert any("Uncaught" in line for line in seen["said"])


def test_the_page_forbids_itself_the_network(results: Path, probed: Any) -> None:
    text = (results / "curation.html").read_text()
    seen = probed(text.replace("<main>", '<main><img src="http://127.0.0.1:9/x.png">'))
    assert seen["broken"] == 1
    assert any("Content Security Policy" in line for line in seen["said"])


def test_views_are_found_by_what_is_known_of_them(results: Path, probed: Any) -> None:
    text = (results / "curation.html").read_text()
    seen = probed(text, find="board:103")
    assert seen["sections"] == ["rule-7"]
    assert seen["found"] == 1
    assert probed(text, find=NAMES[7][:8])["found"] == 1


NUMBERS = {"seen": "1500", "kept": "900", "outfits": "3", "checkpoint": "step-001000", "recognised": "12 of 14"}


def status_page(folder: Path, number: int) -> str:
    """The page of many characters: a third failed, a third waits, a third is finished."""
    why = "7 usable pictures, raw.minimum asks for 20. " * 3 + "</script><b>"
    states: list[dict[str, Any]] = [
        {"stage": "raw", "begun": True, "why": why, "log": folder / "work/raw.log"},
        {"stage": "previews"},
        {"pages": ("report", "curation")},
    ]
    standings = [
        Standing(f"c{k:05}", {**NUMBERS, "seen": str(k)} if k % 3 else dict.fromkeys(NUMBERS), **states[k % 3])
        for k in range(number)
    ]
    return render_page("status.html.j2", page_content(folder / "results", standings))


def test_the_status_page_fits_a_small_window_and_asks_nobody(probed: Any, tmp_path: Path) -> None:
    seen = probed(status_page(tmp_path, 60), find="asks for 20")
    assert seen["said"] == []
    assert seen["loaded"] == []
    assert seen["overflow"] <= 0
    assert seen["nav"] == "sticky"


SEARCHING = """<script>
addEventListener("load", function () {
  function names() {
    return Array.from(document.querySelectorAll("#rows tbody b")).map(function (b) { return b.textContent; });
  }
  function by(id) { return document.getElementById(id); }
  function choose(id, value) { by(id).value = value; by(id).dispatchEvent(new Event("change")); }
  function sort(place) { document.querySelectorAll("#rows th button")[place].click(); }
  var probe = {loaded: performance.now(), first: names(), count: by("count").textContent};
  by("later").click();
  probe.later = [names()[0], by("place").textContent];
  choose("state", 4);
  var pages = document.querySelector("#rows tbody td:last-child").textContent.trim();
  probe.finished = [names()[0], by("count").textContent, pages];
  sort(3);
  probe.most_seen = names()[0];
  sort(3);
  probe.least_seen = names()[0];
  choose("state", "");
  document.querySelector(".funnel button").click();
  probe.stage = [by("count").textContent, document.querySelector("#rows tbody a").getAttribute("href")];
  choose("stage", "");
  var box = document.querySelector("nav input");
  box.value = "C00031";
  box.dispatchEvent(new Event("input"));
  probe.one = [names(), by("later").parentNode.offsetHeight];
  probe.bold = document.querySelectorAll("#rows td.why b").length;
  document.documentElement.dataset.probe = JSON.stringify(probe);
});
</script>
</body>"""


def test_ten_thousand_characters_are_found_sorted_and_turned_over(opened: Any, tmp_path: Path) -> None:
    page = status_page(tmp_path, 10_000)
    assert len(page.encode()) < 5e6
    (tmp_path / "page.html").write_text(page.replace("</body>", SEARCHING))
    done = opened(tmp_path / "page.html", "--window-size=390,844", "--dump-dom")
    counted = re.search(r'data-probe="([^"]*)"', done.stdout)
    assert counted, done.stderr
    seen = json.loads(html.unescape(counted[1]))
    assert seen["first"][:2] == ["c00000", "c00003"]
    assert len(seen["first"]) == 200
    assert seen["count"] == "10,000 of 10,000"
    assert seen["later"] == ["c00600", "201–400"]
    assert seen["finished"] == ["c00002", "3,333 of 10,000", "report curation"]
    assert (seen["most_seen"], seen["least_seen"]) == ("c09998", "c00002")
    assert seen["stage"] == ["3,334 of 10,000", "../work/raw.log"]
    assert seen["one"] == [["c00031"], 0]
    assert seen["bold"] == 0


POINTING = """<script>
addEventListener("load", function () {
  var dot = document.querySelector("#map circle"), box = document.querySelector("#map input");
  dot.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
  var picture = document.querySelector("#pointed img"), said = document.getElementById("under").textContent;
  box.click();
  var probe = {src: picture.src.slice(0, 22), said: said, gone: getComputedStyle(dot.parentNode).display};
  document.documentElement.dataset.probe = JSON.stringify(probe);
});
</script>
</body>"""


def test_the_map_shows_what_is_pointed_at_and_hides_an_outfit(results: Path, opened: Any, tmp_path: Path) -> None:
    page = (results / "outfits.html").read_text().replace("</body>", POINTING)
    (tmp_path / "page.html").write_text(page)
    counted = re.search(r'data-probe="([^"]*)"', opened(tmp_path / "page.html", "--dump-dom").stdout)
    assert counted
    seen = json.loads(html.unescape(counted[1]))
    assert seen["src"] == "data:image/webp;base64"
    assert seen["said"].startswith("red · ")
    assert seen["gone"] == "none"


COPYING = """<script>
addEventListener("load", function () {
  var copied = [], buttons = document.querySelectorAll("#grid .copy button");
  Object.defineProperty(navigator, "clipboard", {value: {writeText: function (text) {
    copied.push(text);
    return {then: function (done) { done(); }};
  }}});
  buttons.forEach(function (button) { button.click(); });
  var probe = {copied: copied, said: buttons[0].textContent, width: buttons[0].getBoundingClientRect().width};
  document.documentElement.dataset.probe = JSON.stringify(probe);
});
</script>
</body>"""


def test_a_click_copies_the_whole_prompt(results: Path, opened: Any, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text((results / "previews.html").read_text().replace("</body>", COPYING))
    counted = re.search(r'data-probe="([^"]*)"', opened(tmp_path / "page.html", "--dump-dom").stdout)
    assert counted
    seen = json.loads(html.unescape(counted[1]))
    wanted = [f"hana_charaloom, {scene}, {HOSTILE}" for scene in ("portrait", "standing")]
    written = [*wanted, *(base["negative"] for base in SETTINGS["bases"])]
    assert seen["copied"] == [escaped_for_a1111(text) for text in written]
    assert seen["said"] == "copied"
    assert seen["width"] > 10


def test_the_page_is_drawn_in_the_colours_that_are_preferred(results: Path, opened: Any, tmp_path: Path) -> None:
    corners = []
    for option in ("--window-size=900,600", "--force-dark-mode"):
        shot = tmp_path / f"shot{len(corners)}.png"
        done = opened(results / "curation.html", "--window-size=900,600", option, f"--screenshot={shot}")
        assert done.returncode == 0, done.stderr
        with Image.open(shot) as image:
            picture = image.convert("RGB")
        assert picture.size == (900, 600)
        assert len(picture.getcolors(2**20)) > 50
        corners.append(sum(picture.getpixel((3, 3))))
    light, dark = corners
    assert light > 600 > 200 > dark
