"""Writes every dashboard as the JSON that Grafana imports: `build.py [DIRECTORY]`; `--check` only compares."""

import argparse
import json
import sys
import warnings
from pathlib import Path

# The SDK points everybody to dashboards of version 2, which Grafana before 12 cannot import.
warnings.filterwarnings("ignore", message="Prefer using dashboardv2", category=DeprecationWarning)

import disk  # noqa: E402
import fleet  # noqa: E402
import health  # noqa: E402
import node  # noqa: E402
from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402
from grafana_foundation_sdk.models import dashboard  # noqa: E402

DASHBOARDS = {"fleet.json": fleet.build, "node.json": node.build, "disk.json": disk.build, "agent.json": health.build}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("directory", nargs="?", type=Path, default=Path(__file__).parent)
    arguments.add_argument("--check", action="store_true", help="write nothing; fail where a file is stale")
    asked = arguments.parse_args()
    texts = {asked.directory / name: as_json(build()) for name, build in DASHBOARDS.items()}
    if asked.check:
        there = set(asked.directory.glob("*.json"))
        stale = [path for path, text in texts.items() if path not in there or path.read_text(encoding="utf-8") != text]
        wrong = sorted(path.name for path in {*stale, *(there - texts.keys())})
        if wrong:
            sys.exit(f"not what the generator writes: {', '.join(wrong)}; run grafana/dashboards/build.py")
        return
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")


def as_json(board: dashboard.Dashboard) -> str:
    whole = json.loads(json.dumps(board, cls=JSONEncoder))
    # The SDK writes one place for them, a menu that has to be opened; Grafana shows those without one above the panels.
    of_panels = [link for panel in whole["panels"] for link in panel.get("links", [])]
    for shown in (*whole["links"], *whole["annotations"]["list"], *of_panels):
        del shown["placement"]
    return json.dumps(whole, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
