"""Forks a child for every order: importing the library takes far longer than one trial.

Nothing here starts JAX or a thread, so that a fork is safe. Run as a program: orders and answers are lines of JSON.
"""

import json
import os
import sys
import time
import traceback

from reliability import program


def main():
    """Serve until the input ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    print("ready", file=answers)
    for line in sys.stdin:
        order = json.loads(line)
        answer = _fork(order) if "out" in order else _wait(order["pid"], order["timeout"])
        print(json.dumps(answer), file=answers)


def _fork(order):
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        program.obey(order)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


def _wait(pid, timeout):
    """The exit status, or None after the timeout."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(0.002)
    return None


if __name__ == "__main__":
    main()
