"""The page and its pictures: tables stay tables, pictures are well-formed, and what was not measured stays."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from benchmarks import written
from benchmarks.measures import SUBJECTS
from benchmarks.parts import Result
from benchmarks.picture import Bar, Plot, bars, plots
from benchmarks.report import Row, Table
from benchmarks.rounds import Record
from benchmarks.servers import ROOT
from benchmarks.wrk import Round

PAGE = ROOT / "docs" / "performance.md"
SVG = "{http://www.w3.org/2000/svg}"
TABLE = Table("A", ["what", "figure"], [["one", "1"], ["two", "2,000"]])


def test_a_table_goes_between_its_markers():
    words = "before\n<!-- benchmarks: A -->\nold\n<!-- end -->\nafter\n<!-- benchmarks: B -->\nkept\n<!-- end -->\n"
    put = written.put(words, {"A": TABLE}, "about")
    assert "old" not in put
    assert put.startswith("before\n<!-- benchmarks: A -->\n| what | figure |\n| --- | --: |\n| one | 1 |\n")
    assert put.endswith("about\n<!-- end -->\nafter\n<!-- benchmarks: B -->\nkept\n<!-- end -->\n")
    assert written.put(put, {"A": TABLE}, "about") == put, "and again"


def test_a_table_for_the_terminal_is_aligned():
    assert TABLE.as_text().splitlines() == ["A", "", "what  figure", "one        1", "two    2,000"]


def test_every_table_of_the_page_parses():
    blocks = written.BLOCK.findall(PAGE.read_text())
    assert len(blocks) == len(set(blocks)) >= 10
    for found in written.BLOCK.finditer(PAGE.read_text()):
        rows = [line for line in found[0].splitlines() if line.startswith("|")]
        columns = {len(re.split(r"(?<!\\)\|", row)) for row in rows}
        assert len(columns) <= 1, f"{found[1]}: rows of different lengths"


def measured(name: str, per_s: int) -> Record:
    subject = next(one for one in SUBJECTS if one.name == name)
    return Record(subject, rounds=[Round(per_s, 1.0, 0, 0, 1.0, 2.0, 0.1)], cpu_us=[1.0])


def test_the_pictures_of_a_run(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- benchmarks: Measured against the goals -->\n<!-- end -->\n")
    records = {name: measured(name, per_s) for name, per_s in (("bare", 1000), ("redis", 900), ("keys-sent", 1))}
    lines = {"clients": {"bare, p50": [(1, 0.2), (512, 90.0)], "bare, p99": []}, "counters": {"lock": []}}
    rows = [Row("redis", "redis to bare", "0.90", ">= 0.85", met=True)]
    written.check(page)
    written.write(page, [Result(rows, records=records), Result(lines=lines)], ["redis"])
    assert "| redis to bare | 0.90 | >= 0.85 | met |" in page.read_text()
    assert "`python -m benchmarks redis`" in page.read_text()
    picture = (tmp_path / "images" / "performance.svg").read_text()
    root = ElementTree.fromstring(picture)
    classes = [one.get("class") for one in root.iter(f"{SVG}rect")]
    assert classes == ["paper", "bar", "ours"], "keys-sent is a way to ask, and no set-up"
    assert [one.get("class") for one in root.iter(f"{SVG}line")] == ["goal"]
    ElementTree.fromstring((tmp_path / "images" / "growth.svg").read_text())


def test_a_page_without_a_place_is_refused_at_once(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("no markers")
    for one in (page, tmp_path / "none.md"):
        with pytest.raises(Exception, match="has no <!-- benchmarks"):
            written.check(one)


def test_pictures_stay_within_their_frame():
    all_bars = [Bar(f"<{i} & co>", 0.02 * 3**i, goal=0.5) for i in range(8)]
    axes = Plot("t", "x", "y", {"one": [(1, 0.001), (10**6, 10_000)], "two, p99": [(1, 5.0)]})
    for picture in (bars("a & b", "c", all_bars), plots("growth", [axes, replace(axes, title="again")])):
        root = ElementTree.fromstring(picture)
        _, _, width, height = map(float, root.get("viewBox").split())
        for one in root.iter():
            for key in ("x", "x1", "x2"):
                assert 0 <= float(one.get(key, 0)) <= width
            for key in ("y", "y1", "y2"):
                assert 0 <= float(one.get(key, 0)) <= height
