"""A sheet of answers in a browser."""

from __future__ import annotations

import io
import wave
from pathlib import Path
from typing import Any

from PIL import Image

from mmkit.views.sheet import Strip, Tile, save_answers


def test_a_sound_is_played_by_its_button(browser: Any, tmp_path: Path) -> None:
    """Chromium leaves the button out where the controls are narrow."""
    from selenium.webdriver.common.action_chains import ActionChains

    with wave.open(heard := io.BytesIO(), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(bytes(16000 * 2))
    tile = Tile("rain", Image.new("RGB", (64, 32)), 0.5, None, (heard.getvalue(), "audio/wav"))
    save_answers([Strip(Tile("rain"), [tile] * 9)], tmp_path / "answers.html")
    for width in (420, 1300):
        browser.set_window_size(width, 950)
        browser.get((tmp_path / "answers.html").as_uri())
        for control in browser.find_elements("css selector", "audio")[::8]:
            left = 18 - control.size["width"] // 2
            ActionChains(browser).scroll_to_element(control).move_to_element_with_offset(control, left, 0).click().perform()
            assert not browser.execute_script("return arguments[0].paused", control)
