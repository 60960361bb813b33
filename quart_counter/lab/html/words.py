"""What a page says in sentences: the verdict, the six anomalies, and who was raced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

from quart_counter.lab.checker import ANOMALIES

Document = Mapping[str, Any]

HIDDEN: Final = "..."
_NAME: Final = "auth|cookie|token|secret|key|password|session|credential|signature"
SECRET: Final = re.compile(_NAME, re.IGNORECASE)
_PARAMETER: Final = re.compile(rf"([?&][^=&#]*(?:{_NAME})[^=&#]*=)[^&#]*", re.IGNORECASE)

MEANING: Final = {
    "duplicate": "answers that repeat a number which was already handed out",
    "skipped": "numbers below the final value that nobody was given",
    "lost": "increments that the final value does not contain",
    "overcount": "counts in the final value that nobody asked for",
    "out_of_order": "answers with a larger number that were there before the call with the smaller one was made",
    "stale": "reads that saw a value which was over, or never was",
}
_FOUND: Final = {
    "duplicate": ("1 answer repeats a number already handed out", "{} answers repeat a number already handed out"),
    "skipped": ("1 number was given to nobody", "{} numbers were given to nobody"),
    "lost": ("1 increment is lost", "{} increments are lost"),
    "overcount": ("1 more was counted than was asked for", "{} more were counted than were asked for"),
    "out_of_order": ("1 answer is out of order", "{} answers are out of order"),
    "stale": ("1 read saw a value that was over", "{} reads saw a value that was over"),
}


class Finding(NamedTuple):
    """One of the six: its name, how often, what it means."""

    name: str
    times: int
    meaning: str


def title(document: Document) -> str:
    """Who was raced: a mode, or an address without its password."""
    if "url" in document:
        return shown_url(str(document["url"]))
    return f"{document.get('mode', 'a race')}" + (", one client" if document.get("one_client") else "")


def crowd(document: Document) -> str:
    """How: `2 workers · 100 clients · 100 requests`."""
    counted = (("workers", "worker"), ("clients", "client"), ("requests", "request"))
    return " \u00b7 ".join(plural(document[key], word) for key, word in counted if isinstance(document.get(key), int))


def label(document: Document) -> str:
    """The verdict as it is stamped on the ticket."""
    return str(document.get("verdict", "INCONCLUSIVE")).replace("_", " ")


def verdict(document: Document) -> str:
    """The verdict in one sentence."""
    diagnosis = document.get("diagnosis")
    if isinstance(diagnosis, Mapping) and diagnosis.get("sentence"):
        return _sentence(str(diagnosis["sentence"]))
    ok, most = document.get("ok", 0), document.get("max_in_flight", 0)
    match document.get("verdict"):
        case "RACY":
            return _found(document)
        case "SAFE":
            return f"{plural(ok, 'request')}, up to {most} at the same moment, and each got a number of its own."
        case "SCOPED":
            return "Right only as long as nobody is meant to share the number: every caller counts for itself."
        case "NO_RACE_SEEN":
            return f"0 wrong answers in {ok}, with up to {most} requests at the same moment. That is no proof."
    return _open(document, ok, most)


def _found(document: Document) -> str:
    """The two worst of the anomalies, in one sentence."""
    told = [
        (one if document[name] == 1 else many).format(document[name])
        for name, (one, many) in _FOUND.items()
        if document.get(name)
    ]
    return _sentence(" and ".join(told[:2]) or "no order of the calls explains the answers")


def _open(document: Document, ok: int, most: int) -> str:
    """Why nothing can be said."""
    if not ok:
        return "Not one request was answered with a number, so there is nothing to judge."
    if document.get("reason"):
        return f"Nothing is proved: {_sentence(str(document['reason']), capital=False)}"
    unknown = document.get("unknown", 0)
    if unknown:
        return f"Nothing is proved: the outcome of {plural(unknown, 'request')} is unknown."
    return (
        f"Nothing is proved: at most {plural(most, 'request')} of {plural(document.get('clients', 0), 'client')} "
        "met, or not every worker was asked often enough."
    )


def reason(judged: str) -> str:
    """The judge's sentence in the words of the page, where a process is a server's: in a history it is who calls."""
    return _sentence(re.sub(r"\bprocess (\d+)", r"client \1", judged)) if judged else ""


def findings(document: Document) -> Sequence[Finding]:
    """The six anomalies, in their order."""
    return [Finding(name.replace("_", " "), document.get(name, 0), MEANING[name]) for name in ANOMALIES]


def summary(documents: Sequence[Document]) -> str:
    """All races in one sentence."""
    if not documents:
        return "No race came to its end."
    races = plural(len(documents), "race")
    judged = [document for document in documents if document.get("expected")]
    odd = [document for document in judged if document["verdict"] != document["expected"]]
    if odd:
        return f"{races}, {len(odd)} not as expected: " + ", ".join(map(title, odd)) + "."
    if judged and len(judged) == len(documents):
        return f"{races}, all as expected."
    racy = sum(document.get("verdict") == "RACY" for document in documents)
    return f"{races}, {racy} with a race in it." if racy else f"{races}, and no race was seen."


def shown_url(url: str) -> str:
    """The address without a user's name and password, and without secrets in its query: pages are shown around."""
    url = _PARAMETER.sub(rf"\1{HIDDEN}", url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    if "@" not in parts.netloc:
        return url
    return SplitResult(parts.scheme, parts.netloc.rpartition("@")[2], *parts[2:]).geturl()


def plural(count: int, word: str) -> str:
    """`1 client`, `100 clients`, `2,000 requests`."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def _sentence(text: str, *, capital: bool = True) -> str:
    text = text.strip()
    first = text[:1].upper() if capital else text[:1]
    return first + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")
