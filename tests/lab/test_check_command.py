"""`check FILE...`: the documents, the words, and one exit status for all files."""

import json

import pytest
from histories import add, lost

from quart_counter.lab.check_command import as_json, as_text, documents, exit_status, judge, problems
from quart_counter.lab.checker import ANOMALIES, orders
from quart_counter.lab.history import from_document, write

HISTORIES = {
    "valid": [add(0, 1, 1), add(2, 3, 2)],
    "invalid": [add(0, 9, 1), add(1, 8, 1)],
    "unknown": [lost(0, 2), lost(0, 3), add(1, 2, 4)],
}


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A file of each verdict, one that is no history, and one that is not there."""
    monkeypatch.setattr(orders, "STATES_AT_LEAST", 0)
    monkeypatch.setattr(orders, "STATES_PER_OPERATION", 0)
    for name, operations in HISTORIES.items():
        write(tmp_path / name, operations)
    (tmp_path / "broken").write_text('{"process": 1}\n')
    return {name: str(tmp_path / name) for name in (*HISTORIES, "broken", "missing")}


@pytest.mark.parametrize(
    ("names", "status"),
    [
        ("valid", 0),
        ("invalid", 1),
        ("broken", 2),
        ("missing", 2),
        ("unknown", 3),
        ("valid valid", 0),
        ("unknown valid", 3),
        ("unknown invalid valid", 1),
        ("valid unknown invalid broken", 2),
        ("", 0),
    ],
)
def test_exit_status(files, names, status):
    """2 before 1 before 3 before 0."""
    assert exit_status([judge(files[name]) for name in names.split()]) == status


def test_document(files):
    """The shape of the contract, and a witness that is itself a history."""
    (document,) = documents([judge(files["invalid"])])
    assert list(document) == ["file", "verdict", "operations", "anomalies", "witness"]
    assert (document["file"], document["verdict"], document["operations"]) == (files["invalid"], "invalid", 2)
    assert list(document["anomalies"]) == list(ANOMALIES)
    assert document["anomalies"]["duplicate"] == 1
    assert [from_document(operation) for operation in document["witness"]] == HISTORIES["invalid"]


def test_json_is_a_document_for_one_file_and_a_list_for_several(files):
    """A script asks for one file and gets an object; for two, a list in the order asked."""
    one = json.loads(as_json([judge(files["valid"])]))
    assert one["verdict"] == "valid"
    assert one["witness"] == []
    several = json.loads(as_json([judge(files[name]) for name in ("unknown", "valid")]))
    assert [document["verdict"] for document in several] == ["unknown", "valid"]
    assert len(json.loads(as_json([judge(files[name]) for name in ("broken", "valid")]))) == 1


def test_text_shows_the_verdict_the_anomalies_the_reason_and_the_lanes(files):
    """What a person reads."""
    text = as_text([judge(files["valid"]), judge(files["invalid"])])
    assert f"{files['valid']}: valid, 2 operations\n" in text
    assert "invalid, 2 operations\n  anomalies: 1 duplicate, 1 lost\n  because " in text
    assert text.count("add 1 -> 1") == 2


def test_text_says_why_it_is_unknown(files):
    """A judge that shrugs says what would have helped."""
    assert "because unknown adds of different sizes" in as_text([judge(files["unknown"])])


def test_problems_name_the_file(files):
    """And the line, where there is one; they are no documents."""
    results = [judge(files["broken"]), judge(files["missing"]), judge(files["valid"])]
    broken, missing = problems(results)
    assert broken == f"{files['broken']}, line 1: missing field op, name, by, call, return, outcome, value"
    assert missing == f"{files['missing']}: No such file or directory"
    assert len(documents(results)) == 1


def test_start(files):
    """The value before the first call is the caller's to know."""
    assert exit_status([judge(files["valid"], start=1)]) == 1
