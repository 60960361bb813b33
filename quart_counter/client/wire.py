"""One try over HTTP: a `Call` goes out, a `Try` says what came of it. With lab/race/load.py the only room with httpx.

A try is judged by what is certain. A request that never left, and one that the service says it did not carry out, had
no effect. Silence after it left, and a 5xx that does not say `"applied": "no"` (a proxy's 502, say), may have had one.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

from quart_counter.errors import ConfigurationError
from quart_counter.extras import install
from quart_counter.model import Change, Reason

try:
    import httpx
except ModuleNotFoundError as missing:
    raise ConfigurationError(f"the client needs httpx: run {install('client')}") from missing

# answered: 200; refused: by a rule of counting; forbidden: not for this client, or not at this address; declined: any
# other answer that trying again would not change
Standing = Literal["answered", "refused", "forbidden", "declined", "not_applied", "in_doubt"]
FINAL: Final = ("answered", "refused", "forbidden", "declined")
READING: Final = ("value", "version")
KEY_TROUBLES: Final = ("expired", "ahead", "unsupported")

_JSON: Final = {"content-type": "application/json"}
_REASONS: Final = {f"urn:quart-counter:{reason.replace('_', '-')}": reason for reason in get_args(Reason)}
_NEVER_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Call(NamedTuple):
    """A request; a proper answer to it has all of `fields`."""

    method: str
    path: str
    fields: tuple[str, ...] = READING
    content: bytes | None = None
    headers: Mapping[str, str] = {}


class Try(NamedTuple):
    """What one try brought: the service's JSON, or why there is none; and how long the service asks us to wait."""

    standing: Standing
    document: Mapping[str, Any] = {}
    because: str = ""
    wait_s: float = 0.0


def call_for(change: Change) -> Call:
    """Say a change in HTTP."""
    # Always quoted: bare, a key that begins with a quote would be read as another one.
    key = (change.key or "").replace("\\", "\\\\").replace('"', '\\"')
    headers = {**_JSON, "idempotency-key": f'"{key}"'}
    if change.if_version is not None:
        headers["if-match"] = f'"{change.if_version}"'
    path = f"/counters/{change.name}"
    if change.value is not None:
        return Call("PUT", path, content=_json(value=change.value), headers=headers)
    if change.limit is None and change.floor is None:
        return Call("POST", f"{path}/increment", content=_json(by=change.by), headers=headers)
    bound = {"floor": change.floor} if change.limit is None else {"limit": change.limit}
    return Call("POST", f"{path}/take", content=_json(by=change.by, **bound), headers=headers)


def _json(**fields: int | None) -> bytes:
    return json.dumps(fields).encode()


def reason_of(document: Mapping[str, Any]) -> Reason | None:
    """Return why a rule of counting said no, if that is what the document says."""
    counted = all(type(document.get(field)) is int for field in READING)
    return _REASONS.get(str(document.get("type"))) if counted else None


def trouble_with_key(document: Mapping[str, Any]) -> str | None:
    """Return why the key cannot make the change count once (`InvalidKey.reason`), if that is what it says."""
    kind, found, reason = str(document.get("type")).partition("urn:quart-counter:key-")
    return reason if found and not kind and reason in KEY_TROUBLES else None


class Wire:
    """The connections to one service."""

    def __init__(
        self, url: str, *, connections: int, headers: Mapping[str, str], verify: ssl.SSLContext | bool
    ) -> None:
        # trust_env off: a proxy that happens to be in the environment would sit between the counters and the caller
        self._http = httpx.AsyncClient(
            base_url=url,
            headers=dict(headers),
            verify=verify,
            trust_env=False,
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
        )

    async def exchange(self, call: Call, timeout_s: float) -> Try:
        """Try once. Not to be cancelled: httpx would lose the connection's place in its pool for ever."""
        try:
            response = await self._http.request(
                call.method, call.path, content=call.content, headers=call.headers, timeout=timeout_s
            )
        except _NEVER_SENT as error:
            return Try("not_applied", because=f"the service cannot be reached ({_told(error)})")
        except (httpx.HTTPError, OSError) as error:
            return Try("in_doubt", because=f"the service did not answer ({_told(error)})")
        return _judge(call, response)

    async def aclose(self) -> None:
        """Close the connections; exchanges still under way fail."""
        await self._http.aclose()


def check_url(url: str) -> str:
    """Return `url` if it can be a service's address. Raises ConfigurationError."""
    try:
        parsed = httpx.URL(url)
        if parsed.scheme in ("http", "https") and parsed.host and not parsed.query and not parsed.fragment:
            return url
    except (httpx.InvalidURL, TypeError):
        pass
    raise ConfigurationError(f"{url!r} is no address of a service: give one like http://127.0.0.1:8000")


def _judge(call: Call, response: httpx.Response) -> Try:
    status, document = response.status_code, _document(response)
    if status == 200 and all(_is_there(field, document) for field in call.fields):
        return Try("answered", document)
    if reason_of(document):
        return Try("refused", document)
    because = f"the service answered {status}" + (f" ({document['detail']})" if "detail" in document else "")
    # 408 and 429 mean by definition that the request was not carried out (RFC 9110, 15.5.9; RFC 6585, 4)
    if status in (408, 429) or (status == 503 and document.get("applied") == "no"):
        return Try("not_applied", document, because, _retry_after_s(response))
    if status >= 500 or status < 300:
        return Try("in_doubt", document, because, _retry_after_s(response))
    return Try("forbidden" if status in (401, 403, 421) else "declined", document, because)


def _is_there(field: str, document: Mapping[str, Any]) -> bool:
    """Whether the document has the field, and a number in it where one belongs."""
    return type(document.get(field)) is int if field in READING else field in document


def _document(response: httpx.Response) -> Mapping[str, Any]:
    try:
        document = response.json()
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _retry_after_s(response: httpx.Response) -> float:
    """Return the seconds of Retry-After; 0 for none and for the form with a date, which our services do not use."""
    seconds: str = response.headers.get("retry-after", "")
    return float(seconds) if seconds.isascii() and seconds.isdigit() else 0.0


def _told(error: Exception) -> str:
    return str(error) or type(error).__name__
