"""The listening socket that all workers share: where it may be, and how it is closed without cutting anybody off."""

from __future__ import annotations

import ctypes
import ipaddress
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

from quart_counter.errors import ConfigurationError
from quart_counter.settings import NEW_SECRET, Settings

SO_ATTACH_FILTER: Final = 26  # Linux; Python's socket module has no name for it


def listen(settings: Settings, backlog: int) -> socket.socket:
    """Return a socket that listens where the settings say. Raises ConfigurationError where it cannot, or must not."""
    bind = settings.bind
    host, colon, port = bind.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or not host:
        raise ConfigurationError(f"bind is {bind!r}: give HOST:PORT, for example 127.0.0.1:8000 or [::1]:8000")
    host = host.removeprefix("[").removesuffix("]")
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, int(port)))
        _check_exposed(settings, listening.getsockname()[0])
        listening.listen(backlog)
    except (OSError, OverflowError) as error:
        listening.close()
        raise ConfigurationError(f"cannot listen on {bind} ({error}): give another --bind") from error
    except ConfigurationError:
        listening.close()
        raise
    return listening


def _check_exposed(settings: Settings, address: str) -> None:
    """Raise ConfigurationError unless a service that others reach asks them who they are, or is open on purpose."""
    if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
        exposed = f"{settings.bind} can be reached from other machines"
    elif settings.proxies:
        exposed = f"proxies is {settings.proxies}, so others are let in to {settings.bind}"
    else:
        return
    if settings.demo:
        raise ConfigurationError(f"{exposed}, and the demo is for this one alone: leave out --bind and --proxies")
    if not settings.tokens and not settings.open:
        raise ConfigurationError(
            f"{exposed}, and without tokens whoever reaches it may do all: "
            "give --tokens FILE (quart-counter token new --scope admin makes a first one), or say --open"
        )
    if not settings.secret_key:
        raise ConfigurationError(f"{exposed}, and there is no secret_key to sign their cookies: {NEW_SECRET}")


def url_of(listening: socket.socket, *, tls: bool) -> str:
    """Return where it listens."""
    host, port = listening.getsockname()[:2]
    return url_at("https" if tls else "http", host, port)


def url_at(scheme: str, host: str, port: int) -> str:
    """Return the address of a service; an IPv6 host stands in brackets."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def turn_away(listening: socket.socket) -> None:
    """Let nobody new connect, while everybody who has is still served.

    When the last worker stops accepting, the connections that wait in the kernel's queue are reset, with requests
    already sent on them. With a packet filter that drops everything the queue gets no longer and can be worked off; the
    newcomers' first packets are lost, and the second ones find the port closed.
    """
    if sys.platform != "linux":
        return
    drop = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # one instruction: return 0 bytes
    with suppress(OSError):  # a kernel that knows no filters, such as gVisor's, cuts the few that come too late
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(drop)))
