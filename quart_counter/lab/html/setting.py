"""Where a race ran, and the command that repeats it; nothing of either that should not be shown around."""

from __future__ import annotations

import os
import platform
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from quart_counter.lab.html.words import HIDDEN, SECRET, shown_url

PACKAGES: Final = {"quart-counter": "quart-counter", "quart": "Quart", "hypercorn": "Hypercorn", "httpx": "httpx"}


def environment() -> Mapping[str, str]:
    """Versions, platform, cores. No host name and no user: neither repeats a race."""
    return {
        **{title: found for name, title in PACKAGES.items() if (found := _version(name))},
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "Platform": f"{platform.system()} {platform.machine()}",
        "Cores": str(cores()),
    }


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def command(words: Sequence[str]) -> str:
    """The words as a shell takes them, without secrets."""
    return shlex.join(shown(words))


def told(document: Mapping[str, Any]) -> Sequence[str]:
    """The command that the document tells."""
    words = ["quart-counter", "race", str(document.get("url") or document.get("mode", ""))]
    for key in ("workers", "clients", "requests"):
        if isinstance(document.get(key), int):
            words += [f"--{key}", str(document[key])]
    return words


def shown(words: Sequence[str]) -> Sequence[str]:
    """The command without secrets: passwords in addresses, and headers and bodies that carry them, become dots."""
    return [_shown(flag, word) for flag, word in zip(["", *words], words, strict=False)]


def _shown(flag: str, word: str) -> str:
    name = word.partition(":")[0]
    if flag == "--header" and SECRET.search(name):
        return f"{name}: {HIDDEN}"
    if flag == "--body" and SECRET.search(word):
        return HIDDEN
    return shown_url(word) if "://" in word else word
