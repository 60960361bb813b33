"""Which certificates a Redis URL believes and shows: tried before anybody is asked, for the driver tries them late.

rediss://HOST:PORT/0?ssl_ca_certs=FILE&ssl_certfile=FILE&ssl_keyfile=FILE
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlsplit

from quart_counter.errors import ConfigurationError


def check_trust(url: str) -> None:
    """Raise ConfigurationError for certificates without TLS, for words that mean nothing, and files that hold none."""
    words = {name: word for name, word in parse_qsl(urlsplit(url).query) if name.startswith("ssl_")}
    if words and not url.startswith("rediss"):
        raise ConfigurationError(f"the Redis URL has {min(words)} and asks for no TLS: begin it with rediss")
    if words.get("ssl_cert_reqs", "required") not in ("none", "optional", "required"):
        raise ConfigurationError("ssl_cert_reqs in the Redis URL is unknown: give required, or none to believe anybody")
    if "ssl_keyfile" in words and "ssl_certfile" not in words:
        raise ConfigurationError("the Redis URL has ssl_keyfile without ssl_certfile: name the certificate, too")
    if words:
        _read(words)


def _read(words: Mapping[str, str]) -> None:
    try:
        context = ssl.create_default_context(cafile=words.get("ssl_ca_certs"))
        if "ssl_certfile" in words:
            context.load_cert_chain(words["ssl_certfile"], words.get("ssl_keyfile"), password="")  # asks nobody for one
    except OSError as error:  # ssl's own errors are such, too
        named = " and ".join(word for name, word in words.items() if name.endswith(("_certs", "file")))
        raise ConfigurationError(
            f"the Redis URL names certificates that cannot be read ({error.strerror}): name files in PEM, instead of "
            f"{named}"
        ) from None
