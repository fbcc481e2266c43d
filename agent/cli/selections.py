"""What the entries of a configuration that select disks come to on this machine, in words, and what is wrong there."""

from collections.abc import Iterator, Sequence

from iovigil.agent.config import Config, Problem, SelectorSettings
from iovigil.agent.disks import inventory
from iovigil.agent.disks.selection import Choice


def lines(config: Config, choices: Sequence[Choice]) -> Iterator[str]:
    """Each entry with what it selects, and what it leaves out and why."""
    for entry, (selector, (line, key)) in enumerate(zip(config.selectors, config.selector_lines, strict=True)):
        own = [choice for choice in choices if choice.entry == entry and not is_noise(choice)]
        count = sum(choice.disk is not None for choice in own)
        yield ""
        yield f"{config.source}:{line}: {key}, {asked(selector)}: selects {count}"
        yield from aligned([described(choice) for choice in sorted(own, key=lambda choice: choice.disk is None)])


def is_noise(choice: Choice) -> bool:
    """Whether nobody would ask why: /proc, /sys and their like, where the entry did not come near them."""
    return choice.disk is None and bool(choice.candidate.mount) and choice.candidate.is_virtual and choice.is_other


def described(choice: Choice) -> tuple[str, str]:
    if choice.disk is not None:
        return choice.candidate.title, f"is {choice.disk.name}, by {choice.disk.path}"
    return choice.candidate.title, f"left out: {choice.reason}"


def aligned(rows: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(title) for title, _ in rows), default=0)
    return [f"    {title.ljust(width)}  {text}" for title, text in rows]


def asked(selector: SelectorSettings) -> str:
    """What an entry asks for, in one line."""
    return " and ".join(f"{fact} {' or '.join(patterns)}" for fact, patterns in selector.match.given())


def report(config: Config, choices: Sequence[Choice]) -> list[dict[str, object]]:
    """The same for programs."""
    return [
        {
            "entry": config.selector_lines[choice.entry][1],
            "candidate": choice.candidate.title,
            "device": choice.candidate.kernel,
            "mount": choice.candidate.mount,
            "name": choice.disk.name if choice.disk is not None else "",
            "path": choice.disk.path if choice.disk is not None else "",
            "left_out": choice.reason,
        }
        for choice in choices
    ]


def conflicts(config: Config, root: str = "/") -> list[Problem]:
    """Two entries that each name one and the same device; with a region each they have to be apart, which is seen to
    elsewhere."""
    first: dict[str, str] = {}
    problems = []
    for disk in config.disks:
        device = inventory.resolve(disk, root).device if disk.device else ""
        if not device or disk.name not in config.lines:
            continue
        other = first.setdefault(device, disk.name)
        is_apart = disk.region is not None and any(each.name == other and each.region for each in config.disks)
        if other != disk.name and not is_apart:
            line, key = config.lines[disk.name]
            there, _ = config.lines[other]
            reason = f"{disk.device} is {device}, and so is {other} on line {there}: one entry for each device"
            problems.append(Problem(config.source, line, f"{key}.device", reason))
    return problems


def warnings(config: Config, choices: Sequence[Choice]) -> Iterator[str]:
    """What an operator would be surprised by."""
    for entry, (selector, (line, key)) in enumerate(zip(config.selectors, config.selector_lines, strict=True)):
        if not any(choice.entry == entry and choice.disk is not None for choice in choices):
            yield f"{key} on line {line} selects nothing now: {asked(selector)}; `iovigil disks` says why"
    if not config.selectors:
        return
    for probe in config.probes:
        if not any(probe.covers(disk.name) for disk in config.disks):
            yield f"probe {probe.name} runs on no disk now: its disks are {', '.join(probe.disks)}"
