"""Certificates of our own, made by openssl: a private CA, and one of it for an address."""

import subprocess
from pathlib import Path

from servers import require_program

from quart_counter.local.redis.tls import Tls


def certificates(folder: Path, name: str, subject: str = "IP:127.0.0.1") -> Tls:
    """A private CA `name`, and a certificate of it for `subject`."""
    require_program("openssl")
    new = ["req", "-newkey", "rsa:2048", "-nodes", "-subj"]
    _openssl(folder, *new, f"/CN={name}", "-x509", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    _openssl(folder, *new, "/CN=redis", "-keyout", f"{name}-server.key", "-out", f"{name}.csr")
    (folder / "san").write_text(f"subjectAltName={subject}")
    sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", f"{name}.pem", "-CAkey", f"{name}.key", "-CAcreateserial"]
    _openssl(folder, *sign, "-days", "2", "-extfile", "san", "-out", f"{name}-server.pem")
    return Tls(folder / f"{name}.pem", folder / f"{name}-server.pem", folder / f"{name}-server.key")


def _openssl(folder: Path, *words: str) -> None:
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)
