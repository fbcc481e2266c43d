"""Finds the class of an I/O engine: one of ours by its name, any other where the order says it is."""

import os
import sys

from iovigil.engines.io.base import IoEngine

TYPE_CHECKING = False
if TYPE_CHECKING:  # importing `typing` takes as long as the interpreter itself
    from types import ModuleType
    from typing import TypedDict

    class EngineLocation(TypedDict):
        """Where an engine is that is none of ours."""

        module: str
        file: str
        """Path of a .py or .so; empty: the module is found by its name."""
        path: list[str]
        """Directories that it, and what it imports, may be in."""


class BadEngine(OSError):
    """The engine cannot be loaded; the text says which, and why."""


def load_engine(name: str, location: "EngineLocation | None" = None) -> type[IoEngine]:
    """Return the class of the engine of this name. Raises BadEngine."""
    try:
        module = import_own(name) if location is None else import_other(location)
    except BadEngine as reason:
        raise BadEngine(f"ioengine={name}: {reason}") from None
    except BaseException as error:  # a plug-in may raise anything; a traceback helps nobody who runs disks
        raise BadEngine(f"ioengine={name}: {in_words(error)}") from None
    found = getattr(module, "Engine", None)
    if found is None:
        raise BadEngine(f"ioengine={name}: its module has no class Engine")
    if not isinstance(found, type) or not issubclass(found, IoEngine):
        raise BadEngine(f"ioengine={name}: its Engine is not derived from IoEngine, nor from plugin.PythonEngine")
    return found


def import_own(name: str) -> "ModuleType":
    if not name.isidentifier() or name.startswith("_") or name == "base":
        raise BadEngine("there is no such engine")
    try:
        module: ModuleType = __import__(f"iovigil.engines.io.{name}", fromlist=("Engine",))
    except ModuleNotFoundError as error:
        if error.name != f"iovigil.engines.io.{name}":
            raise
        raise BadEngine("there is no such engine") from None
    return module


def import_other(location: "EngineLocation") -> "ModuleType":
    # Behind everything of Python's own and of ours: a plug-in adds modules, it does not replace any.
    sys.path += [directory for directory in location["path"] if directory not in sys.path]
    if not location["file"]:
        return __import__(location["module"], fromlist=("Engine",))
    # Not at the top: importlib takes a tenth of a child's time to start, and most load nothing.
    from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, SourceFileLoader
    from importlib.util import module_from_spec, spec_from_file_location

    path = location["file"]
    if not os.path.isfile(path):
        raise BadEngine("there is no such file")
    if path.endswith(".py"):
        loader: SourceFileLoader | ExtensionFileLoader = SourceFileLoader(location["module"], path)
    elif path.endswith(tuple(EXTENSION_SUFFIXES)):
        loader = ExtensionFileLoader(location["module"], path)
    else:
        raise BadEngine(f"is neither Python (.py) nor compiled for this Python ({EXTENSION_SUFFIXES[0]})")
    spec = spec_from_file_location(location["module"], path, loader=loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[location["module"]] = module
    loader.exec_module(module)
    return module


def in_words(error: BaseException) -> str:
    """One line for what came of an import: what, and on which line of the plug-in."""
    if isinstance(error, SyntaxError):
        return f"line {error.lineno}: {error.msg}"
    lines = str(error).splitlines() or [""]
    line = ""
    traceback = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file != __file__ and not file.startswith("<"):
            line = f"line {traceback.tb_lineno}: "
        traceback = traceback.tb_next
    hint = "; build it again with this iovigil" if "binary incompatibility" in lines[0] else ""
    return f"{line}{type(error).__name__}{': ' if lines[0] else ''}{lines[0]}{hint}"
