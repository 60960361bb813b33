"""The colours of a page, computed: what is read has a contrast of 4.5, what is looked at has 3 (WCAG 2.2)."""

import itertools
import re
from pathlib import Path

import pytest

import quart_counter

ROOT = Path(quart_counter.__file__).parent
CSS = (ROOT / "lab/html/report.css").read_text()
PAGE = (ROOT / "web/static/page.css").read_text()
HUES = [f"p{n}" for n in range(6)]


def variables(block):
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))


def schemes(css):
    light, dark = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[:2]
    return {"light": variables(light), "dark": variables(light) | variables(dark)}


SCHEMES = schemes(CSS)
SCHEMES["print"] = SCHEMES["light"] | variables(re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)[-1])

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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_of_one_family_with_the_service_s_page(scheme):
    """Colours that both know are the same."""
    ours, theirs = SCHEMES[scheme], schemes(PAGE)[scheme]
    shared = ours.keys() & theirs.keys()
    assert len(shared) > 15
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


def test_every_colour_is_used():
    for name in SCHEMES["light"]:
        assert f"var(--{name})" in CSS, name
