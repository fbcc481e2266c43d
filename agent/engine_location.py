"""Where the I/O engine of a job is, when it is none of ours: a file, or an entry point of an installed package."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from iovigil.engines.options import OptionError
from iovigil.engines.spelling import ENGINE_GROUP, EXTERNAL, engine_names, plugin_names

if TYPE_CHECKING:
    from iovigil.engines.loading import EngineLocation


def engine_location(ioengine: str) -> EngineLocation | None:
    """Where the child finds the engine; None for one of ours. Raises OptionError.

    A child has no site-packages and looks for no metadata: what it may import is said in its order.
    """
    if ioengine.startswith(EXTERNAL):
        return file_location(ioengine.removeprefix(EXTERNAL))
    if ioengine in engine_names():
        return None
    points = importlib.metadata.entry_points(group=ENGINE_GROUP, name=ioengine)
    places = {point.module for point in points}
    if not places:
        known = ", ".join(sorted({*engine_names(), *plugin_names()}))
        raise OptionError("ioengine", f"{ioengine!r} is not one of {known}, or external: and a path")
    if len(places) > 1:
        raise OptionError("ioengine", f"{ioengine!r} comes from several packages: {', '.join(sorted(places))}")
    return module_location(places.pop(), ioengine)


def file_location(path: str) -> EngineLocation:
    file = Path(path)
    if not file.is_absolute():
        raise OptionError("ioengine", f"external:{path}: the path must be absolute")
    module = file.name.partition(".")[0]
    if not module.isidentifier():
        raise OptionError("ioengine", f"external:{path}: {file.name} cannot be the name of a module")
    return {"module": module, "file": path, "path": [str(file.parent)]}


def module_location(module: str, ioengine: str) -> EngineLocation:
    top = module.partition(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None:
        raise OptionError("ioengine", f"{ioengine!r} is to be in {module}, which is not installed")
    if spec.submodule_search_locations:
        directories = [Path(place).parent for place in spec.submodule_search_locations]
    else:
        directories = [Path(spec.origin or "").parent]
    return {"module": module, "file": "", "path": [str(directory) for directory in directories]}
