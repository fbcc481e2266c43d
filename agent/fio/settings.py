"""The options of one job as they were written, in a file or on a command line, each with its place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from iovigil.engines.coherence import Inapplicable, check
from iovigil.engines.options import SPECS, JobOptions, JobOptionsError, OptionError
from iovigil.engines.spelling import (
    NAMED_AFTER_JOB,
    NAMES_IN_FIO,
    TRANSLATIONS,
    canonical,
    effect_missing,
    parse_option,
    read_options,
)

BARE: Final = "1"
"""What a flag holds that is given without a value."""


class WrittenError(Exception):
    """Something written that cannot be; the text says where, what was found, and what is allowed."""


class Setting(NamedTuple):
    """One option as it was written."""

    option: str
    """Under the name that JobOptions has for it."""
    name: str
    value: str
    place: str
    """Where it stands: `FILE:LINE: bs`, or `--bs`."""

    @property
    def shown(self) -> str:
        """The name for results, as fio has it: the option's, unless the value means something else under that."""
        is_translated = self.name.replace("-", "_") in TRANSLATIONS
        return self.name if is_translated else NAMES_IN_FIO.get(self.option, self.option)


@dataclass
class Settings:
    """The options of a section; the last of two counts, as in fio."""

    by_option: dict[str, Setting] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def add(self, name: str, value: str | None, place: str) -> None:
        """Enter an option, or what is wrong with it; no value is a bare flag."""
        try:
            reason = effect_missing(name, BARE if value is None else value)
            if reason is not None:
                if reason:
                    self.warnings.append(f"{place} has no effect: {reason}")
                return
            option = canonical(name)
            setting = Setting(option, name, bare_value(option, name) if value is None else value, place)
            # What stands in a section that no job follows is checked as well.
            parse_option(name, setting.value)
        except OptionError as error:
            self.errors.append(f"{place}: {error.reason}")
            return
        # The order is that in which the options were last written.
        self.by_option.pop(option, None)
        self.by_option[option] = setting

    def copy(self) -> Settings:
        """The same options, whose warnings and errors stay where they were found."""
        return Settings(dict(self.by_option))

    def shown(self) -> dict[str, str]:
        return {setting.shown: setting.value for setting in self.by_option.values()}


def bare_value(option: str, name: str) -> str:
    """Return the value of an option that is given as a bare word; raise OptionError when it needs one."""
    if SPECS[option].kind is bool:
        return BARE
    if option in NAMED_AFTER_JOB:
        return ""
    raise OptionError(name, "needs a value")


def options_of(defaults: Settings, own: Settings, name: str) -> JobOptions:
    """Return the options of a job; raise WrittenError with everything that is wrong with them as a whole.

    Defaults that have nothing to act on in this job are meant for others.
    """
    settings = {**defaults.by_option, **own.by_option}
    written: dict[str, object] = {"name": name}
    written.update((setting.name, setting.value) for setting in settings.values())
    try:
        options = read_options(written)
    except JobOptionsError as error:
        raise WrittenError("\n".join(located(error.errors, settings, name))) from None
    errors = [
        error
        for error in check(options)
        if not isinstance(error, Inapplicable) or error.option in own.by_option or error.option not in settings
    ]
    if errors:
        raise WrittenError("\n".join(located(errors, settings, name)))
    return options


def located(errors: Iterable[OptionError], settings: Mapping[str, Setting], name: str) -> Iterable[str]:
    by_name = {setting.name: setting for setting in settings.values()}
    for error in errors:
        setting = settings.get(error.option) or by_name.get(error.option)
        yield f"{setting.place}: {error.reason}" if setting else f"job {name}: {error.option}: {error.reason}"
