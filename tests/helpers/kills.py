"""A program that is ended again and again at random moments, and started again."""

import random
import signal
import time

NUMBERS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGHUP)


def end_again_and_again(
    start, progress, check, times=8, seed=1, numbers=NUMBERS, before=lambda process: None
):
    """Start a program and end it by one of some signals, often in the midst of its work.

    start: returns a subprocess.Popen.
    progress: returns a number that grows as the program works.
    check: called as check(number of the signal, errors) after each end.
    before: called with the process before each end.
    It may be done before it has been ended so many times.
    """
    moments = random.Random(seed)
    for _ in range(times):
        number = moments.choice(numbers)
        at_work = moments.random() < 0.7
        done, process = progress(), start()
        if at_work:
            while progress() <= done and process.poll() is None:
                time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.3 if at_work else 5))
        if process.poll() == 0:
            return  # it was faster
        before(process)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        # Before Python has started a signal has its own way.
        assert process.returncode in (-number, *[128 + number] * (number != signal.SIGKILL)), errors
        assert 'Traceback' not in errors
        check(number, errors)
