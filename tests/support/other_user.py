"""Words that run a program as an ordinary user, wherever the tree and the interpreter lie."""

from __future__ import annotations

import os
from pathlib import Path

NOBODY = 65534
#: CAP_DAC_READ_SEARCH, see linux/capability.h.
READ_SEARCH = 1 << 2


def words() -> list[str]:
    """As nobody when we are root; where we are an ordinary user already, as (fake) root.

    The tests run from a clone and an interpreter that may lie in /root, which others cannot
    enter. So this nobody may read what it cannot own, and still writes nothing of others.
    """
    if os.geteuid() != 0:
        return ["fakeroot"]
    found = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    if _may() & READ_SEARCH:
        found += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return found


def _may() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("CapPrm:"):
            return int(line.split()[1], 16)
    return 0
