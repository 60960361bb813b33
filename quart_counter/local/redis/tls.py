"""TLS for servers of our own: with it, nobody speaks to them, nor they to each other, in any other way."""

import ssl
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tls:
    """A certificate for their address, its key, and that of the CA which everybody trusts: files in PEM."""

    ca: Path
    certificate: Path
    key: Path

    def arguments(self) -> list[str]:
        """What a server is told of it. Clients show no certificate; servers show theirs to each other."""
        files = ["--tls-ca-cert-file", self.ca, "--tls-cert-file", self.certificate, "--tls-key-file", self.key]
        return [*map(str, files), *("--tls-auth-clients", "no", "--tls-replication", "yes", "--tls-cluster", "yes")]

    def context(self) -> ssl.SSLContext:
        """What a client needs to believe the servers."""
        return ssl.create_default_context(cafile=self.ca)


def doors(port: int, tls: Tls | None) -> list[str]:
    """What makes a server listen on `port`, with TLS alone if there is any."""
    if tls is None:
        return ["--port", str(port)]
    return ["--port", "0", "--tls-port", str(port), *tls.arguments()]
