"""The page as a whole: one file, well formed, that loads nothing, runs nothing foreign and stays small."""

import base64
import hashlib
import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner
from reported import NASTY, Foreign, add, apart, read, right, row

from quart_counter import cli
from quart_counter.errors import ConfigurationError
from quart_counter.lab.html import page
from quart_counter.lab.html.file import PageFile
from quart_counter.lab.html.page import Sheet
from quart_counter.lab.race import report

VOID = {"meta", "link", "br", "input"}
LOADS = {"src", "srcset", "data", "poster", "action", "background", "ping"}


class Reader(HTMLParser):
    """Checks as it reads: every tag closed, every id unique, nothing loaded, nothing inline."""

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.links, self.headings, self.texts = [], [], [], [], []
        self.labels, self.scripts, self.stops = [], [], 0
        self.feed(text)
        assert not self.open, self.open
        assert len(set(self.ids)) == len(self.ids)
        assert {link[1:] for link in self.links} <= set(self.ids)
        assert set(self.labels) <= set(self.ids)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        assert len(given) == len(attributes), attributes
        assert not LOADS & given.keys(), given
        assert "style" not in given
        assert not [name for name in given if name.startswith("on")]
        if tag == "link":
            assert given["href"].startswith("data:")
        elif "href" in given:
            assert given["href"].startswith("#"), given
            self.links.append(given["href"])
        if "id" in given:
            self.ids.append(given["id"])
        self.labels += given.get("aria-labelledby", "").split()
        self.stops += given.get("tabindex") == "0"
        if tag in ("h1", "h2", "h3", "h4"):
            self.headings.append(int(tag[1]))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


NASTY_ROW = Foreign(
    [add(0, 0, 10, 1), add(1, 5, 20, 1)],
    {
        "url": f"http://127.0.0.1/{NASTY}",
        "diagnosis": {"kind": NASTY, "sentence": NASTY, "cause": NASTY, "remedy": NASTY},
        "reason": NASTY,
        "troubles": {NASTY: 3},
        "pids": {NASTY: 1, "2": 2},
    },
)
PAGES = {
    "apart": [apart()],
    "right": [right()],
    "several": [apart(), right(), Foreign([add(0, 0, 10, 1), add(1, 5, 20, 2)])],
    "nothing": [],
    "unanswered": [row([add(0, 0, None, None, "info")])],
    "no operation": [Foreign([])],
    "nasty": [NASTY_ROW],
    "small cells": [row([add(n, n / 1000, 10 + n, 1 + n // 3) for n in range(600)])],
    "blocks": [right(clients=100, rounds=30)],
}


@pytest.mark.parametrize("rows", PAGES.values(), ids=PAGES)
def test_it_is_well_formed_and_loads_nothing(rows):
    text = page(rows)
    read = Reader(text)
    assert read.headings[0] == 1
    assert read.headings.count(1) == 1
    steps = zip(read.headings, read.headings[1:], strict=False)
    assert all(after <= before + 1 for before, after in steps), read.headings
    assert len(read.scripts) == 1
    assert not re.search(r"https?://(?!127\.0\.0\.1|www\.w3\.org)", text)


def test_its_policy_names_its_style_and_its_script():
    text = page([apart()])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_what_others_said_is_text_and_nothing_else():
    """A URL, a diagnosis or a trouble may hold anything."""
    text = page([NASTY_ROW], note=NASTY)
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert "49" not in "".join(re.findall(r"\{\{.*?\}\}|\b49\b", text))
    assert "".join(Reader(text).texts).count(NASTY) >= 6


def test_it_tells_the_verdict_the_environment_and_the_command():
    texts = " ".join(Reader(page([apart()], when=datetime(2026, 11, 21, 18, 5, tzinfo=UTC))).texts)
    assert "RACY" in texts
    assert "Each of the 2 processes counted by itself: 1 to 10 and 1 to 6." in texts
    assert "Likely cause the number is kept in the memory of a process" in " ".join(texts.split())
    assert "quart-counter race lock --workers 2 --clients 16 --requests 16" in texts
    assert "2026-11-21 18:05 UTC" in texts
    assert "CPython" in texts or "PyPy" in texts


def test_a_diagnosis_shows_its_own_witness():
    """The page looks for one itself where the row brings none; no race, no diagnosis."""
    sheet = Sheet(row([add(n, n, 40 + n, 1 + n // 3) for n in range(39)] + [read(99, 200, 201, 13)]), 1)
    told = sheet.document["diagnosis"]
    assert told["kind"] == "lost_update"
    drawn = {(bar.call.client, bar.call.value) for bar in sheet.lanes.bars if bar.call.witness}
    assert drawn == {(operation["process"], operation["value"]) for operation in told["witness"]}
    assert Sheet(right(), 1).document["diagnosis"] is None


def test_processes_that_count_in_step_are_told_by_who_answered():
    """From outside they look like lost updates, each number twice; but we know who answered."""
    adds = [add(n, n, 40 + n, 1 + n // 2) for n in range(40)]
    told = Sheet(row(adds, owners=[11, 22] * 20), 1).document["diagnosis"]
    assert (told["kind"], told["sentence"]) == (
        "per_process",
        "each of the 2 processes counted by itself: 1 to 20 and 1 to 20",
    )
    mixed = Sheet(row(adds, owners=[11, 22, 22, 11] * 5 + [11] * 20), 1).document["diagnosis"]
    assert mixed["sentence"] != told["sentence"]


def test_no_speed_is_told_of_wrong_answers():
    """Here as elsewhere: the picture shows where time went, and no percentile is quoted."""
    assert "Half of the answers" not in page([apart()])
    assert "Half of the answers were there within" in page([right()])


def test_the_same_row_gives_the_same_page():
    when = datetime(2026, 11, 21, tzinfo=UTC)
    assert page([apart()], when=when) == page([apart()], when=when)


def test_2000_requests_are_a_page_below_a_megabyte():
    """The worst case: every number twice, by two processes, so that each cell has something to tell."""
    adds = [add(n % 100, n / 10, n / 10 + 9, 1 + n // 2) for n in range(2000)]
    text = page([row(adds, owners=[11, 22] * 1000)])
    assert len(text.encode()) < 1_000_000
    assert Reader(text).stops < 60  # what Tab stops at: the first mark of a drawing, and the arrows go on


def test_100000_requests_are_no_monster():
    adds = [add(n % 100, n / 10, n / 10 + 9, 1 + n // 2) for n in range(100_000)]
    text = page([Foreign(adds)])
    assert len(text.encode()) < 300_000
    assert "There are too many to show each: a cell stands for" in text
    assert "too many for a dot each" in text


def test_a_race_of_ours_leaves_a_page(tmp_path):
    """Real servers: two workers that count alone, and each answer knows who gave it."""
    file = tmp_path / "report.html"
    arguments = ["race", "lock", "--workers", "2", "--clients", "20", "--json", "--html", str(file)]
    answer = CliRunner().invoke(cli.main, arguments)
    (told,) = json.loads(answer.stdout)["rows"]
    text = file.read_text(encoding="utf-8")
    assert text.count("process ") > 20
    for pid in told["pids"]:
        assert f"process {pid}" in text
    assert f"different numbers for {told['ok']} answers" in text


@pytest.mark.parametrize("arguments", [["bare"], ["http://127.0.0.1:9/n"]], ids=["ours", "a URL"])
def test_a_page_that_cannot_be_written_is_told_before_the_race(tmp_path, arguments, monkeypatch):
    def raced(*_, **__):
        raise AssertionError("it raced")

    monkeypatch.setattr("asyncio.run", raced)
    missing = tmp_path / "nowhere" / "r.html"
    answer = CliRunner().invoke(cli.main, ["race", *arguments, "--html", str(missing)])
    assert answer.exit_code == 2
    assert f"--html {missing} cannot be written (No such file or directory): name a file" in answer.stderr
    assert CliRunner().invoke(cli.main, ["race", *arguments, "--html", str(tmp_path)]).exit_code == 2


def test_looking_leaves_nothing_behind(tmp_path):
    """A race that fails leaves no empty page, and what was there before stays."""
    fresh, old = tmp_path / "fresh.html", tmp_path / "old.html"
    old.write_text("before")
    PageFile(fresh)
    PageFile(old)
    assert not fresh.exists()
    assert old.read_text() == "before"
    PageFile(old).write([apart()])
    assert old.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_full_disk_is_told():
    with pytest.raises(ConfigurationError, match="No space left"):
        PageFile(Path("/dev/full")).write([apart()])


def test_an_interrupted_race_leaves_a_page_of_what_there_is(tmp_path, monkeypatch):
    """Ctrl-C in the second of two races."""
    rows = iter([right()])

    def raced(*_, **__):
        try:
            return next(rows)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr(report, "_race", raced)
    file = tmp_path / "r.html"
    answer = CliRunner().invoke(cli.main, ["race", "bare", "unguarded", "--html", str(file)])
    assert answer.exit_code == 3
    assert "Interrupted: 1 of 2 races were run." in file.read_text(encoding="utf-8")


def test_a_read_alone_is_a_page():
    Reader(page([row([read(0, 1, 2, 0)])]))
