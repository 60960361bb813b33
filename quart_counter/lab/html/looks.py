"""What a race looks like, also where the row does not say: our own races know more than can be seen from outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from quart_counter.lab.checker import check
from quart_counter.lab.diagnosis import Diagnosis, diagnose
from quart_counter.lab.diagnosis.words import CAUSES, REMEDIES
from quart_counter.lab.history import Operation


def document(row: Any) -> Mapping[str, Any]:
    """Return the row's document, with the judge's reason and, of a racy row, a diagnosis, where it has none."""
    told: Mapping[str, Any] = row.document()
    judged = getattr(row, "judged", None)
    looks = None
    if judged is not None and "diagnosis" not in told and told["verdict"] == "RACY":
        looks = by_process(row.operations, getattr(row, "owners", {}), judged.witness)
        looks = looks or diagnose(row.operations, judged, start=0)
    return {"reason": judged.reason if judged else "", "diagnosis": looks and looks.document(), **told}


def by_process(
    operations: Sequence[Operation], owners: Mapping[int, int], witness: Sequence[Operation]
) -> Diagnosis | None:
    """Return the diagnosis if what each process answered is right by itself; `owners`: who answered which operation.

    That is known, where a diagnosis infers: from outside, processes that count in step look like lost updates.
    """
    apart: dict[int, list[Operation]] = defaultdict(list)
    for i, pid in sorted(owners.items()):
        apart[pid].append(operations[i]._replace(name=f"process {pid}"))
    if len(apart) < 2 or check([op for own in apart.values() for op in own]).verdict != "valid":
        return None
    numbers = " and ".join(f"1 to {max(op.value or 0 for op in own)}" for own in apart.values())
    sentence = f"each of the {len(apart)} processes counted by itself: {numbers}"
    return Diagnosis("per_process", sentence, CAUSES["per_process"], REMEDIES["per_process"], tuple(witness))
