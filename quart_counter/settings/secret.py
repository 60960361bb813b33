"""What nobody is to read: passwords in addresses, and the secret key."""

from __future__ import annotations

import re
from contextlib import suppress
from urllib.parse import unquote, urlsplit, urlunsplit

from quart_counter.settings import Settings


def without_secret(url: str) -> str:
    """Return `url` with its password hidden."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition(':')[0]}:***"
    if "@" in parts.path + parts.query + parts.fragment:  # cut off by / ? # in the password: who knows where
        return f"{parts.scheme}:***"
    netloc = parts.netloc
    if parts.password is not None:
        netloc = netloc.replace(f":{parts.password}@", ":***@")
    query = re.sub(r"((?:^|&)[^=&]*pass[^=&]*=)[^&]*", r"\1***", parts.query, flags=re.IGNORECASE)
    hidden = parts._replace(netloc=netloc, query=query)
    return url if hidden == parts else urlunsplit(hidden)  # urlunsplit would write file:counters as file:///counters


def secrets_of(settings: Settings) -> list[str]:
    """Return the words of these settings that nobody is to read anywhere, as they are written and as they are meant."""
    words = {settings.secret_key}
    with suppress(ValueError):
        password = urlsplit(settings.url).password or ""
        words |= {password, unquote(password)}
    return sorted(words - {""}, key=len, reverse=True)
