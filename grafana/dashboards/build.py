"""Writes every dashboard as the JSON that Grafana imports: `build.py [DIRECTORY]`, by default beside this file."""

import json
import sys
import warnings
from pathlib import Path

# The SDK points everybody to dashboards of version 2, which Grafana before 12 cannot import.
warnings.filterwarnings("ignore", message="Prefer using dashboardv2", category=DeprecationWarning)

import disks  # noqa: E402
from grafana_foundation_sdk.cog.encoder import JSONEncoder  # noqa: E402

DASHBOARDS = {"disks.json": disks.build}


def main() -> None:
    directory = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    for name, build in DASHBOARDS.items():
        text = json.dumps(build(), cls=JSONEncoder, indent=2, sort_keys=True, ensure_ascii=False)
        (directory / name).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
