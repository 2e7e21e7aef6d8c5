"""The page of a map in a browser.

Run it alone to see how long a redraw takes: python -m pytest tests/browser -s
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from mmkit.views.groups import largest
from mmkit.views.map_page import MapPage, write_map

MOST_MS = 100


def page(folder: Path, n: int) -> Path:
    """n pictures in six clusters, a caption of each, and a thumbnail of the first."""
    rng = np.random.default_rng(0)
    kind = rng.integers(6, size=n)
    points = np.stack([np.cos(kind), np.sin(kind)], 1) * 8 + rng.normal(size=(n, 2))
    both = np.concatenate([points, points + 0.3]).astype(np.float32)
    captions = [f"<b>picture</b> 第{i}号 of kind {k}" for i, k in enumerate(kind)] * 2
    modality = np.repeat(["image", "text"], n).astype(object)
    label = np.tile([f"kind {k}" for k in kind], 2)
    groups = [largest("label", label), largest("modality", modality)]
    pairs = np.stack([np.arange(n), np.arange(n) + n], 1)
    ids = [f"s{i}" for i in range(n)] * 2
    picture = {0: b"\xff\xd8\xff\xd9"}
    shown = MapPage("A map", both, groups, ids, modality.tolist(), ["test"] * 2 * n, label.tolist(), captions, pairs, picture)
    write_map(shown, folder / f"map{n}.html")
    return folder / f"map{n}.html"


def opened(browser: Any, path: Path) -> list[str]:
    """Open a page and return the addresses that it asked for."""
    browser.get("about:blank")
    for log in ("performance", "browser"):
        browser.get_log(log)
    browser.get(path.as_uri())
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith("data:")]


def hover(browser: Any, row: int) -> str:
    """What the tip says with the mouse on a point."""
    from selenium.webdriver.common.action_chains import ActionChains

    x, y = browser.execute_script(f"return [px({row}) / ratio, py({row}) / ratio]")
    canvas = browser.find_element("id", "map")
    size = canvas.size
    offset = (round(x - size["width"] / 2), round(y - size["height"] / 2))
    ActionChains(browser).move_to_element_with_offset(canvas, *offset).perform()
    return browser.find_element("id", "tip").text


def test_a_page_shows_what_a_point_is_and_finds_it(browser: Any, tmp_path: Path) -> None:
    path = page(tmp_path, 60)
    assert opened(browser, path) == [path.as_uri()]
    # one point alone, so that nothing lies over it
    browser.find_element("id", "find").send_keys("第7号")
    assert browser.find_element("id", "count").text == "2 of 120"
    said = hover(browser, 7)
    assert said.startswith("<b>picture</b> 第7号 of kind")
    assert "image s7, test, kind" in said
    browser.find_element("id", "find").clear()
    browser.find_element("id", "find").send_keys("nothing like it")
    assert browser.find_element("id", "count").text == "0 of 120"
    assert hover(browser, 7) == ""
    browser.execute_script("for (const e of document.querySelectorAll('#legend button')) e.click()")
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


def test_zoom_and_groups_change_the_picture(browser: Any, tmp_path: Path) -> None:
    opened(browser, page(tmp_path, 60))
    shot = "draw(); return canvas.toDataURL()"
    whole = browser.execute_script(shot)
    browser.execute_script("zoom(width / 2, height / 2, 3)")
    assert browser.execute_script(shot) != whole
    browser.find_element("id", "whole").click()
    assert browser.execute_script(shot) == whole
    browser.find_elements("css selector", "#legend button")[0].click()
    assert browser.execute_script(shot) != whole
    browser.execute_script("$('by').value = 1; $('by').dispatchEvent(new Event('change'))")
    assert [e.text.split("\n")[0] for e in browser.find_elements("css selector", "#legend button")] == ["image", "text"]


def test_50_000_points_are_redrawn_in_100_ms(browser: Any, tmp_path: Path) -> None:
    opened(browser, page(tmp_path, 25_000))
    script = """const t = [];
        $("lines").checked = true;
        for (let i = 0; i < 25; i++) { zoom(width / 2, height / 2, 1.02); draw(); t.push(+canvas.dataset.ms); }
        return t"""
    took = browser.execute_script(script)
    print(f"\n50,000 points and 25,000 lines: {statistics.median(took):.0f} ms a redraw, {max(took):.0f} at most")
    assert browser.execute_script("return n") == 50_000
    assert statistics.median(took) <= MOST_MS
