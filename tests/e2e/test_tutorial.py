"""docs/tutorial.md runs as written: every file, every command, every output."""

import re

import pytest
from servers import require_program

from e2e.tutorial import PAGE, PORT, played, settled, steps

TEXT = PAGE.read_text()
NOT_RUN = ["not run: it installs", "not run: it installs", "not run: a story"]


@pytest.mark.timeout(300)  # a dozen starts of programs; 15 s on an idle machine
def test_the_tutorial_runs_as_written(tmp_path):
    require_program("curl")
    for step, said in played(TEXT, tmp_path):
        assert settled(step.text) == settled(said), f"line {step.line}; python tests/e2e/tutorial.py writes it anew"


def test_every_block_says_what_it_is():
    assert len(steps(TEXT)) == TEXT.count("```") / 2
    assert [step.does for step in steps(TEXT) if step.does.startswith("not run")] == NOT_RUN
    assert all(PORT in step.text for step in steps(TEXT) if step.does in ("serve", "refused"))


def test_every_output_follows_what_prints_it():
    kinds = [step.does.partition(" ")[0].strip(",") for step in steps(TEXT)]
    before = {kinds[i - 1] for i, kind in enumerate(kinds) if kind == "output"}
    assert before == {"run", "serve", "refused"}
    assert all(kinds[i + 1] == "output" for i, kind in enumerate(kinds) if kind == "run")


@pytest.mark.parametrize("step", [step for step in steps(TEXT) if step.does == "output"], ids=lambda step: step.line)
def test_no_word_of_an_output_goes_unread(step):
    """What is left to the moment are numbers, never words; and a count of a race not seen is no matter of moments."""
    for word in re.finditer(r"[A-Za-z_]+", step.text):
        assert settled(replaced(step.text, word, "otherwise")) != settled(step.text), word
    if "NO_RACE_SEEN" in step.text:
        for count in re.finditer(r"(?<=distinct )\d+|(?<=duplicate )\d+|(?<=ok )\d+|[\d,]+(?= requests)", step.text):
            assert settled(replaced(step.text, count, "7")) != settled(step.text), count


def test_two_callers_with_different_numbers_are_no_proof():
    (racy, *_) = [step.text for step in steps(TEXT) if "\nRACY" in step.text]
    assert "two callers, one number" in settled(racy)
    (number,) = set(re.findall(r"add 1 -> (\d+)", racy))
    assert "two callers, one number" not in settled(racy.replace(f"-> {number}", f"-> {number}0", 1))


def replaced(text: str, found: re.Match[str], by: str) -> str:
    return text[: found.start()] + by + text[found.end() :]
