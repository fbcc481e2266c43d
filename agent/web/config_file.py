"""The web configuration in force: read anew when one of its files has changed, kept when the new one is wrong."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

from iovigil.agent import aside
from iovigil.agent.config import ConfigError, Problem, WebSettings
from iovigil.agent.journal import fields
from iovigil.agent.web import web_config
from iovigil.agent.web.web_config import OPEN, WebConfig
from iovigil.agent.web_account import WebAccount

LOAD_S: Final = 10.0
LOOK_S: Final = 1.0
LOOK_INTERVAL_S: Final = 0.1
PATIENCE_S: Final = 0.5

T = TypeVar("T")
Marks = dict[str, tuple[int, ...] | None]

log = logging.getLogger(__name__)


class WebConfigFile:
    """Looks at the files whenever somebody asks, beside the event loop and not more often than it makes sense."""

    def __init__(self, account_of: Callable[[], WebAccount]) -> None:
        self._account_of = account_of
        self._settings = WebSettings()
        self._config = OPEN
        self._marks: Marks = {}
        self._looked_s = float("-inf")
        self._look_began_s = float("-inf")
        self._looking: asyncio.Task[None] | None = None
        self._is_hung = False  # a thread has not come back: no second one is sent after it

    async def adopt(self, settings: WebSettings) -> None:
        """Read this file now, and go by it from now on. Raises ConfigError, and goes on as before."""
        if not settings.config_file:
            self._settings, self._config, self._marks = settings, OPEN, {}
            return
        if self._is_hung:
            raise ConfigError([Problem(settings.config_file, 0, "", "not read: the one before still does not answer")])
        marks, outcome = await self._read(settings, LOAD_S)
        if isinstance(outcome, ConfigError):
            raise outcome
        self._settings = settings
        self._take(outcome, marks)

    async def current(self) -> WebConfig:
        """What a connection or a request that begins now is to go by."""
        is_fresh = time.monotonic() - self._looked_s < LOOK_INTERVAL_S
        if not self._settings.config_file or (is_fresh and self._looking is None) or self._is_hung:
            return self._config
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look(), name="web configuration")
            self._look_began_s = time.monotonic()
        # A file that hangs delays those who come in the first moment, and nobody after them.
        patience_s = self._look_began_s + PATIENCE_S - time.monotonic()
        if patience_s > 0:
            await asyncio.wait([self._looking], timeout=patience_s)
        return self._config

    async def _look(self) -> None:
        try:
            settings = self._settings
            if await self._are_the_same():
                return
            marks, outcome = await self._read(settings, LOAD_S)
            if settings != self._settings:
                return  # a reload came between
            if isinstance(outcome, ConfigError):
                self._marks = marks
                self._refuse(list(outcome.problems))
            else:
                self._take(outcome, marks)
                log.info("web configuration read: %s has changed", settings.config_file)
        except Exception as error:  # the outermost loop of a look: the old configuration has to stay in force
            log.exception("reading the web configuration failed: please report")
            self._refuse([Problem(self._settings.config_file, 0, "", f"not read: {error}")])
        finally:
            self._looked_s = time.monotonic()
            self._looking = None

    async def _are_the_same(self) -> bool:
        known = self._marks
        try:
            return await self._call(lambda: marks_of(known), LOOK_S) == known
        except (TimeoutError, OSError) as error:
            reason = os.strerror(error.errno) if error.errno else f"no answer within {LOOK_S:g} s"
            self._refuse([Problem(self._settings.config_file, 0, "", f"cannot be looked at: {reason}")])
            return True

    async def _read(self, settings: WebSettings, deadline_s: float) -> tuple[Marks, WebConfig | ConfigError]:
        def read() -> tuple[Marks, WebConfig | ConfigError]:
            before = marks_of([*self._marks, settings.config_file])
            outcome: WebConfig | web_config.Refused
            try:
                outcome = web_config.load(settings.config_file, has_open_paths=bool(settings.open_paths))
            except web_config.Refused as refused:
                outcome = refused
            # Of what was known before, how it was before: a change while it was read is seen at the next look.
            after = marks_of(outcome.files)
            return {path: before.get(path, mark) for path, mark in after.items()}, outcome

        try:
            return await self._call(read, deadline_s)
        except (TimeoutError, OSError) as error:
            reason = os.strerror(error.errno) if error.errno else f"no answer within {deadline_s:g} s"
            return self._marks, ConfigError([Problem(settings.config_file, 0, "", f"cannot be read: {reason}")])

    async def _call(self, function: Callable[[], T], deadline_s: float) -> T:
        def call() -> T:
            try:
                return function()
            finally:
                self._is_hung = False

        try:
            return await aside.call(call, deadline_s)
        except TimeoutError:
            self._is_hung = True
            raise

    def _take(self, config: WebConfig, marks: Marks) -> None:
        self._config, self._marks = config, marks
        self._looked_s = time.monotonic()
        account = self._account_of()
        account.last_reload_successful = True
        account.last_reload_unix = time.time()

    def _refuse(self, problems: list[Problem]) -> None:
        self._account_of().last_reload_successful = False
        for problem in problems:
            where = fields(file=problem.file, line=str(problem.line), key=problem.key)
            log.error("%s", problem, extra=where)
        log.error("web configuration refused, the old one stays in force; problems: %d", len(problems))


def marks_of(files: Iterable[str]) -> Marks:
    """By what a change of each file is seen; None of one that is not there."""
    marks: Marks = {}
    for path in files:
        try:
            status = os.stat(path)  # noqa: PTH116
            marks[path] = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        except (OSError, ValueError):
            marks[path] = None
    return marks
