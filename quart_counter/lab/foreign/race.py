"""One race of somebody's endpoint: a first look, all requests at once, a last look."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from quart_counter.errors import ConfigurationError
from quart_counter.lab.diagnosis import Diagnosis
from quart_counter.lab.foreign.answers import Answer, Extractor, agree, candidates, excerpt, printable
from quart_counter.lab.foreign.ask_on import ask_on
from quart_counter.lab.foreign.client import Client, Lost, NotSent
from quart_counter.lab.foreign.row import Plan, Row
from quart_counter.lab.foreign.volley import Volley, ask, fire
from quart_counter.lab.history import Operation

FIRST_GUESS: Final = Extractor("text", "")
REDIRECTS: Final = (301, 302, 303, 307, 308)


class Race:
    """A race under way: `row()` is what was learnt so far."""

    def __init__(
        self,
        url: str,
        method: str,
        plan: Plan,
        heard: Callable[[Operation], None] = lambda operation: None,
    ) -> None:
        self.url, self.method, self.plan = url, method, plan
        name = urlsplit(url).path or "/"
        self._volley = Volley(name, plan.extractor or FIRST_GUESS, plan.timeout_s, heard)

    def row(self) -> Row:
        """Return what was learnt so far, judged."""
        volley = self._volley
        seen = (volley.operations, volley.troubles, volley.seconds, volley.asked_on)
        return Row(self.url, self.method, self.plan, volley.extractor, *seen)

    async def run(self, client: Callable[[], Client], reader: Client | None = None) -> Row:
        """Race with clients made by `client` until something is wrong or `repeat` volleys were fired.

        Then go on for as long as more requests may tell what it looks like, with bounds.

        `reader` reads the value, before and after. Raises: ConfigurationError.
        """
        if reader is not None:
            await self._read_first(reader)
        if self.plan.extractor is None:
            await self._look(client())
        crowd = [client() for _ in range(self.plan.clients)]
        for _ in range(self.plan.repeat):
            seen = len(self._volley.operations)
            await fire(self._volley, crowd, self.plan.requests)
            if self.plan.check(self._volley.operations[seen:], from_the_start=seen == 0).verdict == "invalid":
                break
        await ask_on(self._volley, crowd, self._told)
        if reader is not None:
            await self._read_last(reader)
        return self.row()

    def _told(self) -> Diagnosis | None:
        row = self.row()
        return row.diagnosis or row.suspicion

    async def _look(self, client: Client) -> None:
        """Send one request, agree on where its number is, and keep it: it was counted like any other."""
        try:
            call, answer = await ask(client, self.plan.timeout_s)
        except (NotSent, Lost) as error:
            raise ConfigurationError(f"{self.method} {self.url} got no answer ({error})") from error
        if not 200 <= answer.status < 300:
            raise ConfigurationError(complaint(self.method, self.url, answer))
        self._volley.extractor = agree(answer)
        self._volley.judge(self.plan.clients, call, answer)

    async def _read_first(self, reader: Client) -> None:
        """See what is there before the race, if there is anything yet; what cannot be read is told in time."""
        try:
            call, answer = await ask(reader, self.plan.timeout_s)
        except (NotSent, Lost) as error:
            raise ConfigurationError(f"the read got no answer ({error})") from error
        if answer.status == 404:
            return
        if not 200 <= answer.status < 300 or not candidates(answer):
            raise ConfigurationError(f"the read was answered {answer.title}, without a number: {excerpt(answer)}")
        number = self._number_read(answer)
        if number is None:
            return
        if self.plan.start not in (None, number):
            raise ConfigurationError(f"--start says {self.plan.start}, and --read answers {number} before the race")
        self._note_read(call, number)

    async def _read_last(self, reader: Client) -> None:
        try:
            call, answer = await ask(reader, self.plan.timeout_s)
        except (NotSent, Lost) as error:
            self._volley.troubles[f"the last read: {error}"] += 1
            return
        number = self._number_read(answer) if 200 <= answer.status < 300 else None
        if number is None:
            self._volley.troubles[f"the last read: no number in an answer ({answer.title})"] += 1
            return
        self._note_read(call, number)

    def _number_read(self, answer: Answer) -> int | None:
        """The number where the others have it, else the only one there is."""
        number = self._volley.extractor.number(answer)
        found = candidates(answer)
        return found[0].number if number is None and len(found) == 1 else number

    def _note_read(self, call: int, number: int) -> None:
        who, ret = self.plan.clients, time.monotonic_ns()
        read = Operation(who, "read", self._volley.name, 0, None, None, call, ret, "ok", False, number)
        self._volley.operations.append(read)


def complaint(method: str, url: str, answer: Answer) -> str:
    """Return what an answer without a number means, and what may mend it."""
    said = f"{method} {url} answered {answer.title}"
    if answer.status in REDIRECTS:
        return f"{said}, to {answer.header('location')!a}: race the address that answers with the number itself"
    if answer.status == 405:
        return f"{said} (it allows {printable(answer.header('allow') or 'nothing')}): name the method with --method"
    if answer.status == 429:
        return f"{said}: let it answer more often while it is raced"
    if answer.status in (401, 403):
        return f"{said}: give what it asks for with --header 'Name: value'"
    if answer.status in (400, 411, 415, 422):
        return f"{said}: give what it asks for with --body and --header"
    return said
