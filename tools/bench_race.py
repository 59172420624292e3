"""Race softmax and linear attention, causal against prefix, and record it for the explorer of the race.

bench_race.py [--lengths 1024 4096 16384] [--seconds 10] [--rounds 24] [--threads 2] [--out FILE]

For each length and each eighth of it as the prefix, the four forms run in turn, in races of three rounds; none begins
after so many seconds, but the first. Run it on a machine that does nothing else.
"""

import argparse
import shlex
import sys
import time
from pathlib import Path

import torch

from course_lib.classroom.race_explorer import contenders, more_rounds
from course_lib.classroom.race_words import EIGHTHS, LENGTHS, RECORDING, key, place, point, save
from course_lib.device import get_device
from course_lib.training_record import machine, today


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--lengths", type=int, nargs="+", choices=LENGTHS, default=list(LENGTHS))
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=24)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=RECORDING)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    device, points = get_device(), {}
    for total_len in options.lengths:
        for eighths in range(EIGHTHS + 1):
            with torch.inference_mode():
                functions, result, started = contenders(total_len, eighths, device), None, time.monotonic()
                while result is None or (
                    result.rounds < options.rounds and time.monotonic() - started < options.seconds
                ):
                    result = more_rounds(result, functions, device)
            points[key(total_len, eighths)] = made = point(result)
            ratios = ", ".join(f"{family} {median:.2f}" for family, (_, median, _) in made["ratio"].items())
            print(f"{place(total_len, eighths)}: {ratios} of its causal form, {made['rounds']} rounds", flush=True)
    given = sys.argv[1:] if arguments is None else arguments
    command = shlex.join(["python", "tools/bench_race.py", *given])
    save(options.out, points, machine=machine(device), date=today(), command=command)
    return 0


if __name__ == "__main__":
    sys.exit(main())
