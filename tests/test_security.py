"""SECURITY.md names tests; they exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMED = re.findall(r"`(tests/[^`]+)`", (ROOT / "SECURITY.md").read_text())


def test_every_threat_has_a_test() -> None:
    rows = [row for row in (ROOT / "SECURITY.md").read_text().splitlines() if row.startswith("| ")][1:]
    assert len(rows) > 10
    assert [row for row in rows if "`tests/" not in row.split("|")[3]] == []


@pytest.mark.parametrize("named", sorted(set(NAMED)))
def test_a_test_that_is_named_exists(named: str) -> None:
    file, _, function = named.partition("::")
    assert re.search(rf"^(async )?def {function or 'test_'}", (ROOT / file).read_text(), re.MULTILINE)
