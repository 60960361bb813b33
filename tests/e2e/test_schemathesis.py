"""schemathesis reads /openapi.json and attacks the real service along it."""

import asyncio
import sys
from pathlib import Path

import pytest

from e2e.served import Served, alive, serve

# 503 says "not applied", and is one of the answers that the document promises
CHECKS = "status_code_conformance,content_type_conformance,response_headers_conformance,response_schema_conformance"


async def attacked(served: Served, folder: Path, *options: str) -> str:
    """Run schemathesis; return what it said, and fail unless it found nothing."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "--no-color", "run", f"{served.url}/openapi.json"),
        *("--seed", "1", "--checks", CHECKS, "--generation-database", "none", "--warnings", "off"),
        *("--exclude-path", "/events", "--request-timeout", "20", *options),  # a stream has no end to wait for
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        cwd=folder,
    )
    try:
        said = (await process.communicate())[0].decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said[-6000:]
    return said


def assert_unharmed(served: Served) -> None:
    assert all(map(alive, served.workers))
    assert "Traceback" not in "\n".join(served.said)


async def test_the_service_answers_as_its_document_says(tmp_path: Path) -> None:
    async with serve("--with-redis") as served:
        said = await attacked(served, tmp_path, "--phases", "examples,coverage", "--max-examples", "5")
        assert "0 failed" in said or "passed" in said
        assert_unharmed(served)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("server", ["hypercorn", "uvicorn"])
async def test_at_length(server: str, tmp_path: Path) -> None:
    async with serve("--with-redis", "--workers", "2", "--server", server) as served:
        said = await attacked(served, tmp_path, "--max-examples", "300")
        print(said[-1500:])  # noqa: T201
        assert_unharmed(served)
