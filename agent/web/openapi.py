"""The OpenAPI 3.1 document of the API, from the same Structs that its answers are made of."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

import msgspec

import iovigil
from iovigil.agent.web import problem
from iovigil.agent.web.problem import ProblemDetails

REFERENCE: Final = "#/components/schemas/{name}"
PATH_PARAMETERS: Final[Mapping[str, Mapping[str, Any]]] = {
    "name": {"description": "Name of a disk.", "schema": {"type": "string", "minLength": 1}},
    "id": {"description": "Number of a run.", "schema": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}},
}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One thing that the API does, said once: routes and document follow from it."""

    method: str
    path: str
    id: str
    summary: str
    answer: type[msgspec.Struct]
    status: HTTPStatus = HTTPStatus.OK
    query: type[msgspec.Struct] | None = None
    body: type[msgspec.Struct] | None = None
    problems: tuple[HTTPStatus, ...] = ()


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    operations = tuple(operations)
    answers = {each.answer for each in operations} | {each.body for each in operations if each.body} | {ProblemDetails}
    _, components = msgspec.json.schema_components(
        sorted(answers, key=lambda each: each.__name__), ref_template=REFERENCE
    )
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "iovigil",
            "version": iovigil.__version__,
            "summary": "What the disk probes of this host found, and when they run.",
            "description": "Read-only unless the configuration says agent.web.enable_control. Answers come from memory "
            "and from the agent's own history: no watched disk is touched.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {"schemas": components},
    }


def operation(each: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {"operationId": each.id, "summary": each.summary}
    if parameters := [*path_parameters(each.path), *query_parameters(each.query)]:
        described["parameters"] = parameters
    if each.body is not None:
        described["requestBody"] = {"required": True, "content": content("application/json", each.body)}
    described["responses"] = {
        str(int(each.status)): {
            "description": (each.answer.__doc__ or "").split("\n")[0],
            "content": content("application/json", each.answer),
        },
        **({"304": {"description": "Nothing has changed since the given ETag."}} if each.method == "GET" else {}),
        **{
            str(int(status)): {
                "description": status.phrase,
                "content": content(problem.CONTENT_TYPE, ProblemDetails),
            }
            for status in each.problems
        },
    }
    return described


def content(media_type: str, of: type[msgspec.Struct]) -> dict[str, Any]:
    return {media_type: {"schema": {"$ref": REFERENCE.format(name=of.__name__)}}}


def path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"{(\w+)}", path):
        yield {"name": name, "in": "path", "required": True, **PATH_PARAMETERS[name]}


def query_parameters(query: type[msgspec.Struct] | None) -> Iterator[dict[str, Any]]:
    if query is None:
        return
    for name, schema in properties(query).items():
        yield {"name": name, "in": "query", "required": False, "schema": schema}


def properties(of: type[msgspec.Struct]) -> dict[str, Any]:
    """The schema of every field of a Struct of scalars. A parameter is left out, and never null."""
    _, components = msgspec.json.schema_components([of], ref_template=REFERENCE)
    return {name: without_null(schema) for name, schema in components[of.__name__]["properties"].items()}


def without_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    told = dict(schema)
    if told.get("default", 0) is None:
        del told["default"]
    if "anyOf" in told:
        (only,) = (each for each in told.pop("anyOf") if each.get("type") != "null")
        told = {**only, **told}
    return told
