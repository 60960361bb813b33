"""`/docs`: the OpenAPI document as a page to read; no JavaScript, nothing from elsewhere."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup, escape
from quart import Blueprint, render_template

from quart_counter.web import answers
from quart_counter.web.openapi import Document
from quart_counter.web.openapi.schemas import span
from quart_counter.web.page import HEADERS


class Said(NamedTuple):
    """A status that a route can give, and when."""

    status: int
    phrase: str
    when: list[str]
    headers: list[str]


class Entry(NamedTuple):
    """A route, as the page shows it; `commands` are what follows `curl`, before and after the address."""

    id: str
    method: str
    path: str
    summary: str
    about: str
    parameters: list[Mapping[str, Any]]
    commands: list[tuple[str, str]]
    good: list[Said]
    bad: list[Said]
    example: str


def sections(described: Document) -> list[tuple[str, str, list[Entry]]]:
    """Return name, description and routes of each tag."""
    entries = list(_entries(described))
    return [
        (tag["name"], tag["description"], [entry for name, entry in entries if name == tag["name"]])
        for tag in described["tags"]
    ]


def anywhere(described: Document) -> list[Said]:
    """Return what any path can answer."""
    responses = described["components"]["responses"].values()
    return [_said(response["x-status"], response) for response in responses]


def _entries(described: Document) -> Iterator[tuple[str, Entry]]:
    known = described["components"]["parameters"]
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parameters = [known[one["$ref"].rsplit("/")[-1]] for one in operation.get("parameters", ())]
            said = [_said(int(status), response) for status, response in operation["responses"].items()]
            yield (
                operation["tags"][0],
                Entry(
                    operation["operationId"],
                    method.upper(),
                    path,
                    operation["summary"],
                    operation.get("description", ""),
                    parameters,
                    list(_commands(method.upper(), path, operation, parameters)),
                    [one for one in said if one.status < 400],
                    [one for one in said if one.status >= 400],
                    _example(operation["responses"].get("200", {})),
                ),
            )


def _said(status: int, response: Mapping[str, Any]) -> Said:
    when = [case[0].upper() + case[1:] for case in response["description"].removesuffix(".").split("; or ")]
    return Said(status, answers.phrase(status), when, list(response.get("headers", ())))


def _example(response: Mapping[str, Any]) -> str:
    for content in response.get("content", {}).values():
        for example in content.get("examples", {}).values():
            return json.dumps(example["value"], indent=2 if len(str(example["value"])) > 80 else None)
    return ""


def _commands(
    method: str, path: str, operation: Mapping[str, Any], parameters: list[Mapping[str, Any]]
) -> Iterator[tuple[str, str]]:
    for parameter in parameters:
        path = path.replace(f"{{{parameter['name']}}}", str(parameter.get("example")))
    cookies = "-b jar -c jar " if operation["tags"] == ["session"] else ""
    for media, content in operation.get("requestBody", {"content": {"": {}}})["content"].items():
        for example in content.get("examples", {"": {"value": {}}}).values():
            yield _options(method, media, example["value"]) + cookies, path


def _options(method: str, media: str, body: Mapping[str, Any]) -> str:
    if not body:
        return "" if method == "GET" else f"-X {method} "
    if media != "application/json":
        return "".join(f"-d {field}={value} " for field, value in body.items())
    return ("" if method == "POST" else f"-X {method} ") + f"--json '{json.dumps(body)}' "


def _marked(text: str) -> Markup:
    """Return the text as HTML, with `code` marked."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def blueprint(described: Document) -> Blueprint:
    """Return /docs."""
    routes = Blueprint("docs", __name__)
    routes.add_app_template_filter(_marked, "marked")
    everything = {
        "described": described,
        "sections": sections(described),
        "anywhere": anywhere(described),
        "key_life": span(described["components"]["parameters"]["IdempotencyKey"]["x-idempotency-key-life-seconds"]),
    }

    @routes.get("/docs")
    async def docs() -> tuple[str, int, dict[str, str]]:
        return await render_template("docs.html", **everything), 200, HEADERS

    return routes
