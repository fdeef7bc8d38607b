"""The page of a run: one file without network or script, whatever artists are called, light and dark."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedstyle_secure.cli.page import ExampleMatch, ExampleSearch, readable_bytes, render_page
from fedstyle_secure.cli.summary import summary

SCORE = {"macro_top1": 0.5, "macro_top1_se": 0.02, "mrr": 0.6}
RESULT = {
    "schema_version": 1,
    "version": "0",
    "policy_sha256": "ab" * 32,
    "policy_epsilon": 8.0,
    "encoder": {"name": "colour-texture", "notice": None},
    "artists": ["ada", "bo"],
    "notices": [
        {"code": "c", "artist": "ada", "file": "x.jpg", "message": "It is empty.", "fix": "Replace it."}
    ],
    "guarantee": {
        "epsilon": 7.9951,
        "delta": 1e-5,
        "unit": "artwork",
        "neighbouring": "add_or_remove_one",
        "adversary": "everybody",
        "exact": "The exact words.",
        "plain": "The plain words.",
        "not_covered": "What is left out.",
    },
    "limits": ["A limit."],
    "exchanges": [
        {"stage": "centre", "round": 0, "epsilon_so_far": 2.0},
        {"stage": "train", "round": 1, "epsilon_so_far": 4.0},
        {"stage": "represent", "round": 0, "epsilon_so_far": 7.9951},
    ],
    "rounds": [{"stage": "train", "round": 1, "epsilon_so_far": 4.0}],
    "totals": {"bytes_up_per_artist": 1234, "bytes_down_per_artist": 5_600_000, "seconds": 3.21},
}
MEASURED = {
    **RESULT,
    "quality": dict.fromkeys(("private", "without_noise", "frozen", "colour", "chance"), SCORE),
    "private_top1_by_artist": {"ada": 0.5, "bo": None},
    "evaluation_splits": 5,
    "evaluation_note": "The note.",
}


def picture(value):
    return np.full((8, 8, 3), value, np.uint8)


def search(artist="ada"):
    return ExampleSearch(artist, "1.png", picture(10), (ExampleMatch(artist, 0.9, picture(200)),))


def page(result=MEASURED, searches=(), pictures_of_artworks=False):
    return render_page(result, title="A run", searches=searches, pictures_of_artworks=pictures_of_artworks)


@pytest.mark.parametrize("result", [RESULT, MEASURED], ids=["not measured", "measured"])
def test_it_says_what_is_promised_and_what_is_not(result):
    html = page(result)
    for words in (
        "The plain words.",
        "The exact words.",
        "A limit.",
        "x.jpg: It is empty.",
        "1.2 kB",
        "5.6 MB",
    ):
        assert words in html
    assert ("The note." in html) == ("quality" in result)


def test_epsilon_is_never_rounded_down():
    assert ">8.00<" in page()
    assert "7.99" not in page()


def test_it_needs_no_network_and_no_script():
    html = page(searches=[search()])
    assert "<script" not in html
    assert re.findall(r"(?:src|href)=\"(?!data:)", html) == []
    assert not re.search(r"https?://|url\(|@import", html)
    assert "default-src 'none'" in html


def test_names_cannot_inject_anything():
    evil = "<img src=x onerror=alert(1)>"
    result = copy.deepcopy(MEASURED)
    result["artists"] = [evil, "bo"]
    result["private_top1_by_artist"] = {evil: 1.0}
    result["notices"][0]["artist"] = evil
    html = page(result, searches=[search(evil)])
    assert evil not in html
    assert "&lt;img src=x" in html


def test_every_picture_has_words_for_those_who_cannot_see_it():
    html = page(searches=[search()])
    images = re.findall(r"<img[^>]*>", html)
    assert len(images) == 2
    assert all(re.search(r'alt="[^"]+"', image) for image in images)
    assert all('aria-label="' in drawing for drawing in re.findall(r"<svg[^>]*>", html))


def test_pictures_of_peoples_works_come_with_a_banner():
    assert "This page holds pictures of artworks" in page(pictures_of_artworks=True)
    assert "This page holds pictures of artworks" not in page()


def test_the_summary_says_the_same():
    text = summary(MEASURED)
    for words in (
        "The plain words.",
        "The exact words.",
        "What is left out.",
        "50.0 % ± 2.0",
        "Chance",
        "The note.",
    ):
        assert words in text
    assert "Chance" not in summary(RESULT)


@pytest.mark.parametrize(("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.5e9, "2.5 GB")])
def test_readable_bytes(count, text):
    assert readable_bytes(count) == text


def screenshot(html_file: Path, tmp_path: Path, *, dark: bool) -> np.ndarray:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium on this machine: it shows the page as a reader would see it")
    image = tmp_path / f"dark-{dark}.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={tmp_path / f'profile-{dark}'}", "--window-size=900,1400"]
    command += [f"--blink-settings=preferredColorScheme={0 if dark else 1}", f"--screenshot={image}"]
    subprocess.run([*command, html_file.as_uri()], check=True, capture_output=True, timeout=120)
    return np.asarray(Image.open(image).convert("L"), dtype=float)


def test_a_browser_shows_it_readably_in_light_and_in_dark(tmp_path):
    file = tmp_path / "report.html"
    file.write_text(page(searches=[search()]), encoding="utf-8")
    for dark in (False, True):
        pixels = screenshot(file, tmp_path, dark=dark)
        paper, ink = np.median(pixels), np.percentile(pixels, 99.5 if dark else 0.5)
        assert (paper < 60) if dark else (paper > 220)
        assert abs(ink - paper) > 120, "text and paper are hard to tell apart"
        rows_with_ink = np.mean(np.abs(pixels - paper).max(axis=1) > 100)
        assert rows_with_ink > 0.3, "the page is nearly empty"
