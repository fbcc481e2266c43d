"""The configuration file's JSON schema, for editors: `python -m iovigil.agent.config.schema > config/schema.json`."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from iovigil.agent.config.kinds import LABEL
from iovigil.agent.config.model import (
    AgentSettings,
    ConfigKey,
    DiskSettings,
    ProbeSettings,
    RegionSettings,
    WebSettings,
    keys_of,
)
from iovigil.agent.config.rules import NOT_IN_A_PROBE
from iovigil.agent.config.sections import TOP_KEYS
from iovigil.engines.compounds import notation_of
from iovigil.engines.options import SPECS, OptionSpec, PerDirection
from iovigil.engines.spelling import ALIASES, FLAGS, UNIT_PARSERS, VALUE_ALIASES

Schema = Mapping[str, Any]


def build() -> Schema:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "iovigil configuration, version 1",
        **mapping(
            {
                "agent": {"description": TOP_KEYS["agent"], **settings(AgentSettings, {"web": settings(WebSettings)})},
                "disks": {"description": TOP_KEYS["disks"], "type": "array", "minItems": 1, "items": disk()},
                "probes": {
                    "description": TOP_KEYS["probes"],
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": f"^{LABEL.pattern}$"},
                    "additionalProperties": settings(ProbeSettings, {"job": job()}),
                },
            },
            required=["disks", "probes"],
        ),
    }


def mapping(properties: Schema, required: Iterable[str] = ()) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        **({"required": names} if (names := list(required)) else {}),
    }


def settings(of: type[msgspec.Struct], structures: Schema | None = None) -> Schema:
    """Describe a section by its keys; `structures` describe those that have no kind."""
    keys = keys_of(of)
    properties = {key.name: value(key, structures or {}) for key in keys}
    return mapping(properties, (key.name for key in keys if key.is_required))


def value(key: ConfigKey, structures: Schema) -> Schema:
    described: dict[str, Any] = {"description": key.text}
    schema = key.kind.schema if key.kind else structures[key.name]
    described |= {"type": "array", "minItems": 1, "items": schema} if key.is_list else schema
    if not key.is_required and key.default and key.kind:
        described["default"] = key.default
    return described


def disk() -> Schema:
    file_or_device = [
        {"required": ["file", "size"], "properties": {"device": False, "region": False}},
        {"required": ["device"], "properties": {"file": False, "size": False}},
    ]
    return {**settings(DiskSettings, {"region": settings(RegionSettings)}), "oneOf": file_or_device}


def job() -> Schema:
    names = {**{name: name for name in SPECS}, **ALIASES}
    return mapping({name: option(SPECS[of]) for name, of in names.items() if of not in NOT_IN_A_PROBE})


def option(spec: OptionSpec) -> Schema:
    described: dict[str, Any] = {"description": spec.text}
    if spec.choices:
        spellings = [*spec.choices, *VALUE_ALIASES.get(spec.name, {})]
        # YAML reads 0 and 1 as numbers.
        return {**described, "enum": spellings + [int(text) for text in spellings if text.isdigit()]}
    if spec.kind is bool:
        return {**described, "enum": [True, False, 0, 1, *(text for text in FLAGS if not text.isdigit())]}
    if spec.kind is str:
        return {**described, "type": "string"}
    number: dict[str, Any] = {"type": ["number" if spec.unit == "us" else "integer", "string"]}
    if spec.kind == PerDirection:
        return {**described, "anyOf": [number, {"type": "array", "minItems": 1, "maxItems": 3, "items": number}]}
    if spec.kind is bytes:
        return {**described, "type": "string"}
    if notation_of(spec):
        single = {"type": ["number", "string"]}
        return {**described, "anyOf": [single, {"type": "array", "minItems": 1, "items": single}]}
    if spec.kind is float:
        return {**described, "type": "number", "minimum": spec.ge, "maximum": spec.le}
    if spec.unit != "us" and spec.unit not in UNIT_PARSERS:
        number |= {"minimum": spec.ge, "maximum": spec.le}
    return {**described, **number}


def render() -> str:
    return json.dumps(build(), indent=2) + "\n"


if __name__ == "__main__":
    print(render(), end="")
