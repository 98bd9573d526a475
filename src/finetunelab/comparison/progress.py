"""What a comparison is doing and how much of its time is left: a bar where somebody watches, and lines where nobody does."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator

from tqdm import tqdm

from ..training import show_progress
from .tuning import Say

TICK = 0.5  # seconds between two looks at the clock


@contextlib.contextmanager
def watching(seconds: float) -> Iterator[Say]:
    """Give what is told each step, as a line on stderr; meanwhile a bar under the lines fills as the budget is used, and says what is left of it.

    The bar is off where bars are not wanted, see ``training.show_progress``. It is gone at the end.
    """
    if not show_progress():
        yield lambda line: print(line, file=sys.stderr, flush=True)
        return
    began, done = time.perf_counter(), threading.Event()
    form = "{desc}{percentage:3.0f} % of the time |{bar}|{postfix}"
    with tqdm(total=seconds, desc="begins: ", bar_format=form, postfix=left(seconds), file=sys.stderr, leave=False, dynamic_ncols=True) as bar:

        def look() -> None:
            used = time.perf_counter() - began
            bar.n = min(seconds, used)
            bar.set_postfix_str(left(seconds - used))

        def tick() -> None:
            while not done.wait(TICK):
                look()

        def say(line: str) -> None:
            # A line that is not indented begins a method, and names it behind its number.
            if not line.startswith(" "):
                bar.set_description_str(f"{line.split(':')[0]}: ", refresh=False)
            bar.write(line, file=sys.stderr)
            look()

        clock = threading.Thread(target=tick, daemon=True)
        clock.start()
        try:
            yield say
        finally:
            done.set()
            clock.join()


def left(seconds: float) -> str:
    """Return seconds that are left, as a clock has them."""
    whole = max(0, round(seconds))
    return f"{whole // 60}:{whole % 60:02d} left"
