"""Conditions: what has to be the same for two runs to be compared."""

from collections.abc import Mapping

import msgspec

from iovigil.agent.disks.identity import key_of
from iovigil.agent.ledger import DiskEntry, RunResult
from iovigil.agent.run_record import written

OF_THE_DISK = ("model", "firmware", "scheduler")


def conditions_of(result: RunResult, disk: DiskEntry) -> dict[str, str]:
    """Empty values are not known."""
    job = " ".join(f"{name}={value}" for name, value in written(result.options).items())
    labels = {label: disk.identity.get(label, "") for label in OF_THE_DISK}
    return {"path": disk.place, "disk": key_of(disk.identity), **labels, "engine": result.engine, "job": job}


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """What is different, for people; what is not known is not different."""
    return [
        f"{name} is {new[name]}, was {old[name]}"
        for name in new
        if old.get(name) and new[name] and old[name] != new[name]
    ]


def merged(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, str]:
    """What is known of either; of these that are the same."""
    return {name: value or old.get(name, "") for name, value in new.items()}


def encode(conditions: Mapping[str, str]) -> str:
    return msgspec.json.encode(conditions, order="deterministic").decode()


def decode(text: str) -> dict[str, str]:
    """Raises ValueError."""
    try:
        return msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise ValueError(str(error)) from None
