"""Interrupts (Ctrl-C) during a training: the first asks, the second does not wait."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def interrupts(stop: threading.Event, committing: Callable[[], bool]) -> Iterator[None]:
    """Let the first Interrupt ask for a stop; let the second one raise, unless a step is being written."""
    # Python runs signal handlers in the main thread alone, and elsewhere raises no KeyboardInterrupt either.
    before = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
    if before in (None, signal.SIG_IGN):
        yield
        return

    def on_interrupt(number, frame):
        again = stop.is_set()
        stop.set()
        if again and not committing():
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
