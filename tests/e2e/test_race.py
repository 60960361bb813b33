"""The lab on real servers: every default row as expected, and the documents that quote it still true."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from servers import require

from quart_counter.lab.checker import check
from quart_counter.lab.history import load

ROOT = Path(__file__).parents[2]
WHY = ROOT / "docs" / "why-async-does-not-save-you.md"
ANOMALIES = ("duplicate", "skipped", "lost", "overcount", "out_of_order", "stale")


def race(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "quart_counter", "race", *arguments], capture_output=True, text=True, timeout=120
    )


pytestmark = pytest.mark.timeout(180)  # nine races; behind the lock each request waits its 20 ms at the gate


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str, Path]:
    """One default race: its JSON, its story and its histories."""
    require("redis")
    folder = tmp_path_factory.mktemp("histories")
    done = race("--json", "--explain", "--history", str(folder))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr, folder


def test_every_row_is_as_expected(run: Any) -> None:
    """Nine rows: four right, five wrong, each as theory says."""
    rows = run[0]["rows"]
    assert [(row["mode"], row["workers"], row["verdict"]) for row in rows] == [
        ("bare", 1, "SAFE"),
        ("bare", 2, "RACY"),
        ("unguarded", 1, "RACY"),
        ("lock", 1, "SAFE"),
        ("lock", 2, "RACY"),
        ("lock-late-answer", 1, "RACY"),
        ("redis-get-set", 2, "RACY"),
        ("redis", 1, "SAFE"),
        ("redis", 2, "SAFE"),
    ]
    assert all(row["verdict"] == row["expected"] for row in rows)


def test_a_safe_row_proves_that_its_requests_overlapped(run: Any) -> None:
    """100 answers, 1 to 100, half of the clients in flight at once, every worker answering its share."""
    for row in run[0]["rows"]:
        if row["verdict"] == "SAFE":
            assert (row["ok"], row["distinct"], row["final"]) == (100, 100, 100)
            assert [row[anomaly] for anomaly in ANOMALIES] == [0] * 6
            assert row["max_in_flight"] >= 50
            assert len(row["pids"]) == row["workers"]
            assert min(row["pids"].values()) >= 5


def test_no_speed_is_told_of_a_wrong_row(run: Any) -> None:
    """A racy row has a witness and no figures to boast with."""
    for row in run[0]["rows"]:
        fast = [row[figure] is not None for figure in ("client_bound_per_s", "p50_ms", "p99_ms")]
        assert fast == [row["verdict"] == "SAFE"] * 3
        assert bool(row["witness"]) == (row["verdict"] == "RACY")


def test_the_histories_alone_tell_right_from_wrong(run: Any) -> None:
    """What was written to disk, judged again, gives the same verdicts: nothing else was needed."""
    for row in run[0]["rows"]:
        verdict = check(load(run[2] / f"{row['mode']}-{row['workers']}.ndjson"))
        assert verdict.verdict == ("valid" if row["verdict"] == "SAFE" else "invalid")
        assert all(row[anomaly] == verdict.anomalies[anomaly] for anomaly in ANOMALIES)


def test_the_right_total_hides_wrong_answers(run: Any) -> None:
    """lock-late-answer counts every request, and hands numbers out twice all the same."""
    row = next(row for row in run[0]["rows"] if row["mode"] == "lock-late-answer")
    assert (row["final"], row["lost"]) == (100, 0)
    assert row["duplicate"] > 0
    assert row["skipped"] > 0


def blocks(text: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_explanation_quotes_this_run(run: Any) -> None:
    """docs/why-async-does-not-save-you.md: its rows and its recorded steps are what the lab says today."""
    text = WHY.read_text()
    quoted = [tuple(line.split()) for block in blocks(text, "race") for line in block.splitlines()]
    rows = {(row["mode"], str(row["workers"]), row["verdict"]) for row in run[0]["rows"]}
    assert set(quoted) == rows
    told = re.sub(r" *[\d.]+ ms +(?=client)", "", run[1])
    for mode in ("unguarded", "lock-late-answer"):
        (steps,) = blocks(text, f"explain {mode}")
        story = told[told.index(f"({mode}, recorded") :]
        assert [line for line in story.splitlines() if line.startswith("client")][: len(steps.splitlines())] == (
            steps.splitlines()
        )


def test_the_readme_quotes_this_run(run: Any) -> None:
    """The README's table has today's columns, rows, verdicts."""
    table = blocks((ROOT / "README.md").read_text(), "text")[0]
    head, *lines = [line.split() for line in table.strip().splitlines()[:10]]
    assert " ".join(head) == (
        "mode workers answered distinct duplicate skipped lost overcount out of order stale "
        "verdict expected p50 ms p99 ms"
    )
    assert [(line[0], line[1], line[10]) for line in lines] == [
        (row["mode"], str(row["workers"]), row["verdict"]) for row in run[0]["rows"]
    ]


@pytest.mark.parametrize(("mode", "workers"), [("lock", 1), ("redis", 2)])
def test_two_thousand_requests_are_valid(mode: str, workers: int, tmp_path: Path) -> None:
    """100 clients, 2,000 requests: the recorded history is valid by `quart-counter check`."""
    require("redis")
    done = race(mode, "--workers", str(workers), "--requests", "2000", "--history", str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    judged = subprocess.run(
        [sys.executable, "-m", "quart_counter", "check", "--json", str(tmp_path / f"{mode}-{workers}.ndjson")],
        capture_output=True,
        text=True,
    )
    assert judged.returncode == 0
    document = json.loads(judged.stdout)
    assert (document["verdict"], document["operations"]) == ("valid", 2001)


def test_an_unknown_mode_is_one_sentence() -> None:
    """Bad input: status 2, and the modes that there are."""
    done = race("lokc")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: there is no mode 'lokc'; did you mean lock?")
    assert "Traceback" not in done.stderr
