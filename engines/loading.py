"""Finds the class of an I/O engine: one of ours by its name, any other where the order says it is."""

import os
import sys

from iovigil.engines.io import base
from iovigil.engines.io.base import IoEngine

LAYOUT_MARK = b"iovigil-layout:"

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
        require_same_layout(path)
        loader = ExtensionFileLoader(location["module"], path)
    else:
        raise BadEngine(f"is neither Python (.py) nor compiled for this Python ({EXTENSION_SUFFIXES[0]})")
    spec = spec_from_file_location(location["module"], path, loader=loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[location["module"]] = module
    loader.exec_module(module)
    return module


def require_same_layout(path: str) -> None:
    """Refuse what was compiled for another order of methods and fields: it would call one for another."""
    ours, theirs = layout_of(base.__file__), layout_of(path)
    if theirs and theirs != ours:
        raise BadEngine("it was compiled for another version of iovigil: build it again with this one")


def layout_of(path: str) -> bytes:
    """What the declarations that a module was compiled with had for a number; empty when it used none of them."""
    with open(path, "rb") as file:
        code = file.read()
    at = code.find(LAYOUT_MARK)
    return code[at : at + len(LAYOUT_MARK) + 8] if at >= 0 else b""


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
    return f"{line}{type(error).__name__}{': ' if lines[0] else ''}{lines[0]}"
