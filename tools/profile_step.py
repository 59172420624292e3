"""Where the time of a training step goes, for the model that lesson 03 trains: matrix arithmetic, or everything else.

profile_step.py [--steps 20] [--threads 2]
"""

import argparse
import sys
import time

import torch
from torch.profiler import ProfilerActivity, profile

from course_lib import arms
from course_lib.training_record import machine, today

# products of matrices, and the fused attention, which is two of them with a softmax in between
MATRIX = ("aten::mm", "aten::bmm", "aten::addmm", "aten::_scaled_dot_product_flash_attention_for_cpu")
WARM_UP = 10


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    run = arms.storyteller_run(0, arms.ARMS[2], steps=WARM_UP + 2 * options.steps)
    run.evaluate = None
    run.train(WARM_UP)
    started = time.perf_counter()
    run.train(WARM_UP + options.steps)
    step_ms = (time.perf_counter() - started) / options.steps * 1e3
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        run.train()
    times = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    total = sum(times.values())
    matrix = sum(spent for name, spent in times.items() if name.startswith(MATRIX))
    print(f"{machine(torch.device('cpu'))}, {today()}")
    print(f"a step of the storyteller takes {step_ms:.0f} ms; {matrix / total:.0%} of it is matrix arithmetic")
    others = sorted((name for name in times if not name.startswith(MATRIX)), key=times.get, reverse=True)
    for name in others[:8]:
        print(f"  {times[name] / total:6.1%}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
