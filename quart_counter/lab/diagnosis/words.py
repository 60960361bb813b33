"""The kinds of diagnosis: what each looks like, its likely cause and its remedy, whatever the language of the app."""

from collections.abc import Mapping
from typing import Any, Final, Literal, NamedTuple, get_args

from quart_counter.lab.history import Operation, to_document

Kind = Literal[
    "per_client",
    "constant",
    "someone_elses_answer",
    "reset_under_way",
    "per_process",
    "stale_cache",
    "lost_update",
    "block_allocation",
    "processes_or_blocks",
    "sequence_gaps",
    "double_apply",
    "steps",
    "not_counted",
    "unclear",
]
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)


class Diagnosis(NamedTuple):
    """What an invalid history looks like. `witness`: two or three requests to look at, in the order of their calls.

    `more`: so many further requests may tell it from something else; 0 where enough was seen.
    """

    kind: Kind
    sentence: str
    cause: str
    remedy: str
    witness: tuple[Operation, ...]
    more: int = 0

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        kind, sentence, cause, remedy, witness, _ = self
        told = [to_document(operation) for operation in witness]
        return {"kind": kind, "sentence": sentence, "cause": cause, "remedy": remedy, "witness": told}


PHRASES: Final[Mapping[Kind, str]] = {
    "per_client": "a number for each client",
    "constant": "a number that nobody keeps",
    "someone_elses_answer": "someone else's answer",
    "reset_under_way": "a counter that was reset under way",
    "per_process": "processes, each with its own counter",
    "stale_cache": "a stale cache",
    "lost_update": "lost updates",
    "block_allocation": "block allocation",
    "processes_or_blocks": "processes that each count alone and have come apart, or like blocks of numbers taken ahead",
    "sequence_gaps": "a sequence, which does not take numbers back",
    "double_apply": "requests that are carried out twice",
    "steps": "a counter that goes up by more than one",
    "not_counted": "numbers that nobody counts",
    "unclear": "",
}

CAUSES: Final[Mapping[Kind, str]] = {
    "per_client": "the number is kept in a session, a cookie or a connection, so there is one for each client",
    "constant": (
        "the number lives for one request only (made anew for each request, or counted in a child process that "
        "ends with it) or for one client only, or the answer comes out of a cache"
    ),
    "someone_elses_answer": (
        "the count itself is right, but the answer is read again after the step that adds (after the lock was let "
        "go, after an await, in a second query), so it is the number of whoever added last"
    ),
    "reset_under_way": "the process that keeps the number was restarted or recycled, or somebody set it back",
    "per_process": (
        "the number is kept in the memory of a process, and the server runs several of them, at once or one after "
        "another"
    ),
    "stale_cache": "an answer comes out of a cache, a replica or a copy that is older than what was already answered",
    "lost_update": (
        "the number is read, then written in a second step (with an await, a query or a switch of threads between "
        "them), so two requests read the same number and one of the writes is lost"
    ),
    "block_allocation": (
        "each process or connection takes a block of numbers ahead and hands out from its own (hi/lo generators, "
        "sequences with CACHE)"
    ),
    "processes_or_blocks": (
        "either the number is kept in the memory of a process, there are several, and earlier requests have driven "
        "them apart (then numbers are given twice, if not now), or each process takes a block of numbers ahead"
    ),
    "sequence_gaps": (
        "a database sequence or an auto-increment: a number that was taken by a failed or rolled back request is "
        "never given out again"
    ),
    "double_apply": (
        "a request is carried out again although its first try had counted (a retry by a proxy, a driver or a "
        "client), or something else takes numbers of the same counter: another visitor, or a sequence that burns them"
    ),
    "steps": "the counter adds more than one each time, as an auto-increment does that shares its numbers with others",
    "not_counted": "the numbers are made of the time, of dice, or of a hash",
    "unclear": "several faults at once, or one that is not in the list",
}

_ONE_STEP: Final = "let one atomic step add and answer the new value"

REMEDIES: Final[Mapping[Kind, str]] = {
    "per_client": (
        "nothing, if that is meant: race it with --per-client; a number for all needs one place that all requests reach"
    ),
    "constant": (
        "keep the number where it outlives the request, and where all processes see it: a database row, Redis, or one "
        "process with a lock; send the answer with Cache-Control: no-store"
    ),
    "someone_elses_answer": (
        f"{_ONE_STEP}: keep the sum in a local variable before the lock is let go, UPDATE … RETURNING, or the reply of "
        "Redis INCR"
    ),
    "reset_under_way": "keep the number outside of the process: a database row, or Redis with its append-only file",
    "per_process": (
        "keep the number where all processes see it (a database row with UPDATE … RETURNING, Redis INCR), or run one "
        "process; a lock inside a process does not help"
    ),
    "stale_cache": "answer from the place where the number is kept, and send Cache-Control: no-store",
    "lost_update": (
        f"{_ONE_STEP}: a lock around both read and write in one process; UPDATE … SET n = n + 1 RETURNING n or Redis "
        "INCR for several"
    ),
    "block_allocation": (
        "nothing, if unique is enough; if the numbers must follow the order of the requests, take them one by one from "
        "one place (no CACHE, no hi/lo)"
    ),
    "processes_or_blocks": (
        "start the server afresh and race it again: processes that count alone begin alike, and give numbers twice. "
        "Until then take it for that, and keep the number where all processes see it (a database row with UPDATE … "
        "RETURNING, Redis INCR)"
    ),
    "sequence_gaps": (
        "nothing, if gaps are fine: race it with --gaps-allowed; numbers without holes need a counter row that is "
        "updated in the same transaction as what they number"
    ),
    "double_apply": (
        "send an idempotency key with every try and let the counter answer a repeat with the first answer, or switch "
        "the retries of requests that count off; if gaps are fine, race it with --gaps-allowed"
    ),
    "steps": "nothing, if that is meant: race it with --gaps-allowed, which still finds numbers that are given twice",
    "not_counted": (
        "take them from a counter if they are to be consecutive; if only to be unique, from a generator that is made "
        "for it (UUID, snowflake with a machine number of its own for each process): no race can show that they always "
        "are. If they rise, race them with --gaps-allowed"
    ),
    "unclear": f"look at the witness; what always helps: {_ONE_STEP}",
}
