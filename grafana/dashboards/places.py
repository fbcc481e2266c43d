"""Where a click leads: from a node or disk in a table to its board, with what is chosen and the time kept."""

from typing import Final

KEPT: Final = "${datasource:queryparam}&${job:queryparam}"
TIME: Final = "${__url_time_range}"

NODE: Final = f"/d/iovigil-node/?{KEPT}&var-instance=${{__data.fields.instance}}&{TIME}"
DISK: Final = (
    f"/d/iovigil-disk/?{KEPT}&var-instance=${{__data.fields.instance}}&var-disk=${{__data.fields.disk}}&{TIME}"
)
