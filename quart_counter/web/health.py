"""Is it alive, is it ready, and what does it promise."""

from __future__ import annotations

from dataclasses import asdict

from quart import Blueprint, Response, request

from quart_counter.counters import Counters
from quart_counter.errors import StoreAway
from quart_counter.web import answers
from quart_counter.web.api import to_response
from quart_counter.web.scope import sees_detail

PROBE = "readyz"  # a counter's name; it is only ever read


def blueprint(counters: Counters, mode: str) -> Blueprint:
    """Return /healthz (this worker answers) and /readyz (its store does too, and this is what it promises).

    Where tokens are in force, only admins are told more of the store than whether it answers.
    """
    routes = Blueprint("health", __name__)

    @routes.get("/healthz")
    async def healthz() -> Response:
        return to_response(answers.document({"status": "ok"}))

    @routes.get("/readyz")
    async def readyz() -> Response:
        try:
            await counters.read(PROBE)
        except StoreAway as away:
            if not sees_detail(request.scope):
                return to_response(answers.problem(503, "The store does not answer.", kind="not-ready", ready=False))
            return to_response(answers.problem(503, f"{away}.", kind="not-ready", ready=False, mode=mode))
        if not sees_detail(request.scope):
            return to_response(answers.document({"ready": True}))
        return to_response(answers.document({"ready": True, "mode": mode, "guarantees": asdict(counters.guarantees)}))

    return routes
