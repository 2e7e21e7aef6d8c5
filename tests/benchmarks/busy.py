"""How long commands keep the processors, which other work on the machine does not change as it does the clock."""

from __future__ import annotations

import os


def busy() -> float:
    """Seconds of processors that the commands begun here, and ended, have taken so far: it never falls."""
    used = os.times()
    return used.children_user + used.children_system
