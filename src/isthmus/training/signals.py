"""Ctrl-C and SIGTERM ask a training to stop; it does so between two steps."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Remembers, within its `with` block, that a stop was asked for; a second Ctrl-C stops at once.

    Args:
        pass_on: Hand the wish on to the processes started from this one, which do the work.
        hard: A second Ctrl-C raises KeyboardInterrupt.
    """

    def __init__(self, pass_on: bool = False, hard: bool = True):
        self.asked = False
        self.pass_on, self.hard = pass_on, hard
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        # Python gives signals to the main thread alone; a training started elsewhere is stopped by its caller.
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._ask) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked and number == signal.SIGINT and self.hard:
            raise KeyboardInterrupt
        self.asked = True
        if self.pass_on:
            for child in multiprocessing.active_children():
                if child.pid is not None:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(child.pid, signal.SIGTERM)
