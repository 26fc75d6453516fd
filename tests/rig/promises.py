"""What scripts of scenarios check: promises, and for how long one waits for them."""
import os
import time

PATIENCE = float(os.environ.get("RIG_PATIENCE", 2))


class Broken(Exception):
    """A promise, with a sentence."""


def check(good, what):
    if not good:
        raise Broken(what)


def await_(what, seconds, condition):
    """Waits until it holds, and returns what it says."""
    deadline = time.monotonic() + seconds * PATIENCE
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < deadline, f"never: {what}")
        time.sleep(0.2)
