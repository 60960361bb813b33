"""What `quart-counter serve` says when it is up: what is on, who shares the number and what it survives."""

from __future__ import annotations

from typing import Final

from quart_counter import __version__
from quart_counter.serving.service import Service
from quart_counter.settings import Settings
from quart_counter.settings.modes import MODES
from quart_counter.settings.secret import without_secret

SHARED_BY: Final = {
    "request": "nobody: it ends with the request",
    "client": "the requests of one client",
    "process": "one worker process, nobody else",
    "host": "every worker on this machine",
    "network": "every worker on every host that reaches this store",
}
SURVIVES: Final = {
    "none": "nothing: the numbers end with the store",
    "restart": "a clean restart of the store",
    "crash": "a restart and a crash of the store (kill -9)",
    "power_loss": "a restart, a crash and a power cut (as configured; not tested here)",
}


def banner(settings: Settings, service: Service) -> str:
    """Say what is on, who shares the number and what it survives."""
    promises = service.guarantees
    workers = ", ".join(map(str, service.pids))
    lines = [
        f"quart-counter {__version__}  mode {settings.mode}: {MODES[settings.mode].summary}",
        f"  listening on    {service.url}  (workers: {workers})",
        f"  open to         {_open_to(settings)}",
        f"  store           {without_secret(settings.url)}  {promises['server']}".rstrip(),
        f"  number shared   by {SHARED_BY[promises['scope']]}",
        f"  survives        {SURVIVES[promises['durable']]}",
        *(f"  note            {note}" for note in promises["notes"]),
        f"  try             curl -X POST {_token_of(settings)}{service.url}/counters/tickets/increment",
        *([f"  demo            {service.url}/demo"] if settings.demo else []),
    ]
    return "\n".join(lines)


def _open_to(settings: Settings) -> str:
    if settings.tokens:
        return "clients with a token"
    return "whoever reaches it, without a token" if settings.open else "this machine, without a token"


def _token_of(settings: Settings) -> str:
    return '-H "Authorization: Bearer $TOKEN" ' if settings.tokens else ""
