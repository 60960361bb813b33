"""The colours of a page, computed: what is read has a contrast of 4.5, what is looked at has 3 (WCAG 2.2)."""

import itertools
import re
from pathlib import Path

import pytest

import quart_counter

ROOT = Path(quart_counter.__file__).parent
DISPENSER = (ROOT / "web/static/dispenser.css").read_text()  # what all pages share
REPORT = (ROOT / "lab/html/report.css").read_text()
HUES = [f"p{n}" for n in range(6)]


def variables(block):
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))


def roots(css):
    return [variables(block) for block in re.findall(r":root \{(.*?)\}", css, re.DOTALL)]


LIGHT, DARK, PRINT = roots(DISPENSER)
OWN_LIGHT, OWN_DARK = roots(REPORT)
SCHEMES = {
    "light": LIGHT | OWN_LIGHT,
    "dark": LIGHT | DARK | OWN_LIGHT | OWN_DARK,
    "print": LIGHT | PRINT | OWN_LIGHT,
}

INK = ("ink", "ink-quiet", "ink-red", "ink-green", "ink-blue", "ink-amber")
READ = [
    *itertools.product(("text", "quiet", "warning"), ("wall",)),
    *itertools.product(INK, ("paper", "paper-far")),
    *itertools.product(("on-enamel",), ("enamel", "enamel-lit")),
    ("on-once", "once"),
    ("on-more", "more"),
    *(("on-p", hue) for hue in HUES),
]
SEEN = [("focus", "wall"), ("never-edge", "wall"), ("key-edge", "wall"), ("more", "wall"), *((h, "wall") for h in HUES)]


def luminance(colour):
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_measure_is_right():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#fff") == pytest.approx(4.54, abs=0.01)


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("one", "on"), READ, ids=lambda name: name)
def test_what_is_read(scheme, one, on):
    colours = SCHEMES[scheme]
    assert contrast(colours[one], colours[on]) >= 4.5


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("one", "on"), SEEN, ids=lambda name: name)
def test_what_is_looked_at(scheme, one, on):
    colours = SCHEMES[scheme]
    assert contrast(colours[one], colours[on]) >= 3


def test_no_colour_is_said_twice():
    assert not LIGHT.keys() & OWN_LIGHT.keys()


def test_every_colour_is_used():
    for name in OWN_LIGHT:
        assert f"var(--{name})" in REPORT, name
