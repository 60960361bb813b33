"""Counters from a file or a pipe, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import BinaryIO

from quart_counter.errors import InvalidChange
from quart_counter.transfer.moving import FLUSH
from quart_counter.transfer.rows import LONGEST_LINE, Row, from_line


def batches(file: BinaryIO) -> Iterator[tuple[list[Row], int]]:
    """Yield counters, a flush at a time, with how many bytes they were. Raises InvalidChange that names the line."""
    lines = _lines(file)
    while batch := list(islice(lines, FLUSH)):
        yield [row for row, _ in batch if row is not None], sum(size for _, size in batch)


def _lines(file: BinaryIO) -> Iterator[tuple[Row | None, int]]:
    number = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        try:
            yield (from_line(line) if line.strip() else None), len(line)
        except InvalidChange as invalid:
            raise InvalidChange(f"line {number}: {invalid}") from None
