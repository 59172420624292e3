"""Training: one loop for every lesson and experiment. It can be stopped at any time, and goes on as if it had not been.

    run = Run(model, batch_of, steps=300, learning_rate=3e-3)
    run.train()          # Interrupt, or run.stop() from another thread, ends it between two steps
    run.train()          # goes on where it stopped; nothing is lost, and nothing is done twice
    run.record           # what happened: losses, tokens, seconds, machine
    run.save(path)       # and Run.load(path, batch_of=batch_of) goes on with it in another kernel

What a step does depends on the weights, the optimizer, the seed and the number of the step, and on nothing else. So on
the CPU, with the same number of threads, the same run gives the same bits, however often it was stopped on the way.
"""

import dataclasses
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch

from ._batch import read_batch
from ._check import mixed_seed, real_number, shown, usable_device, whole_number
from ._interrupts import interrupts
from ._saved_run import load_run, save_run
from .generation import evaluating
from .glm import BlankInfilling
from .model import PrefixLM
from .objectives import Example
from .training_record import Record, machine, today
from .vocabulary import Vocabulary, check_vocabulary

__all__ = ["Record", "Run", "learning_rate_at", "target_loss"]


def learning_rate_at(step: int, *, steps: int, peak: float, warmup: int, cooldown: int) -> float:
    """Return the learning rate of a step, 0..steps - 1: up in a line to `peak`, where it stays, and down in a line.

    The first of `warmup` steps has peak / warmup, the last of all has peak / cooldown; where the two lines meet under
    the peak, the lower one counts. In a run of a few hundred steps, where a model learns one thing after the other,
    what it gains in the long middle is lost under a cosine, which is low by then.

    ValueError for a step that the run does not have, and for a line that is longer than the run.

    Sources: Goyal et al. 2017, section 2.2 (warm-up); Hägele et al. 2024, arXiv 2405.18392 (constant, then cooldown).
    """
    steps, peak = whole_number("steps", steps, low=1), real_number("peak", peak, low=0)
    step = whole_number("step", step, high=steps - 1, high_name="steps - 1")
    limit = {"high": steps, "high_name": "steps"}
    warmup, cooldown = whole_number("warmup", warmup, **limit), whole_number("cooldown", cooldown, **limit)
    up = (step + 1) / warmup if warmup else 1.0
    down = (steps - step) / cooldown if cooldown else 1.0
    return peak * min(1.0, up, down)


class Run:
    """A model on its way through its training.

    model           a PrefixLM; it is trained where it lies.
    batch_of        batch_of(step) returns what step 0, 1, ... reads: an Example or a BlankInfilling of a batch, or a
                    dict of arguments of PrefixLM.forward, targets included. It must depend on the step alone, not on
                    what it was asked before; it is moved to the model's device.
    steps           how many there are in all.
    learning_rate   the peak; see `learning_rate_at` for `warmup` and `cooldown`, in steps; unless given, a tenth and a
                    quarter of all.
    weight_decay    of matrices; vectors (the norms' weights) do not decay.
    clip            the gradient's largest norm, over all weights; None leaves it as it is.
    seed            of dropout, which is all that is random here; and for the record.
    evaluate        evaluate(model) returns a dict of names and numbers; called with dropout and gradients off, before
                    the first step, after every `evaluate_every` steps if that is given, and after the last.
    objective       for the record: what is trained, in words.

    `train` may be called from any thread, but from one at a time. AdamW: Loshchilov and Hutter 2019, with betas 0.9 and
    0.99, as suits a few hundred steps. TypeError or ValueError, naming the argument, for what is not allowed.
    """

    def __init__(
        self,
        model: PrefixLM,
        batch_of: Callable[[int], Example | BlankInfilling | dict],
        *,
        steps: int,
        learning_rate: float = 3e-3,
        warmup: int | None = None,
        cooldown: int | None = None,
        weight_decay: float = 0.1,
        clip: float | None = 1.0,
        seed: int = 0,
        evaluate: Callable[[PrefixLM], dict[str, float]] | None = None,
        evaluate_every: int | None = None,
        objective: str = "",
    ):
        if not isinstance(model, PrefixLM):
            raise TypeError(f"model must be a PrefixLM, got {shown(model)}")
        _check_functions(batch_of, evaluate)
        if not isinstance(objective, str):
            raise TypeError(f"objective must be words, got {shown(objective)}")
        self.steps = whole_number("steps", steps, low=1)
        limit = {"high": self.steps, "high_name": "steps"}
        self.warmup = self.steps // 10 if warmup is None else whole_number("warmup", warmup, **limit)
        self.cooldown = self.steps // 4 if cooldown is None else whole_number("cooldown", cooldown, **limit)
        self.learning_rate = real_number("learning_rate", learning_rate, low=0, above=True)
        self.clip = None if clip is None else real_number("clip", clip, low=0, above=True)
        if evaluate_every is not None:
            evaluate_every = whole_number("evaluate_every", evaluate_every, low=1)
            if evaluate is None:
                raise ValueError("evaluate_every is of no use without evaluate")
        self.model, self.batch_of, self.evaluate, self.evaluate_every = model, batch_of, evaluate, evaluate_every
        weights = [weight for weight in model.parameters() if weight.requires_grad]
        if not weights:
            raise ValueError("model must have weights to train, but all of them are frozen")
        decay = real_number("weight_decay", weight_decay, low=0)
        groups = [
            {"params": [one for one in weights if one.dim() >= 2], "weight_decay": decay},
            {"params": [one for one in weights if one.dim() < 2], "weight_decay": 0.0},
        ]
        self._weights = weights
        # fused: one pass over all weights, where a loop over them would take as long as a layer
        self.optimizer = torch.optim.AdamW(groups, lr=self.learning_rate, betas=(0.9, 0.99), fused=True)
        self.record = Record(
            objective=objective,
            config=dataclasses.asdict(model.config),
            settings={
                "steps": self.steps,
                "learning_rate": self.learning_rate,
                "warmup": self.warmup,
                "cooldown": self.cooldown,
                "weight_decay": decay,
                "clip": self.clip,
            },
            seed=whole_number("seed", seed),
            machine=machine(weights[0].device),
            date=today(),
        )
        self._stop, self._training = threading.Event(), threading.Lock()
        self._thread, self._committing = None, False

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self.record.steps_done

    @property
    def finished(self) -> bool:
        """Whether all steps are done."""
        return self.step == self.steps

    def stop(self) -> None:
        """Ask a training that goes on in another thread, or in this one's `on_step`, to end after its step."""
        self._stop.set()

    def train(self, until: int | None = None, *, on_step: Callable[["Run"], None] | None = None) -> Record:
        """Train on, up to `until` steps in all (to the end unless given), and return the record.

        on_step(run) is called after each step. An Interrupt (KeyboardInterrupt) ends the training after the step that
        it falls in, and `train` returns as usual; a second one does not wait for that step, which is then not done at
        all. Any other error leaves the run as it was after the last whole step, too.

        Raises FloatingPointError, and takes no step, when the loss or its gradient is not finite.
        """
        until = self.steps if until is None else whole_number("until", until, high=self.steps, high_name="steps")
        if on_step is not None and not callable(on_step):
            raise TypeError(f"on_step must be a function, got {shown(on_step)}")
        if not self._training.acquire(blocking=False):
            raise RuntimeError("this run is being trained already; call stop() and wait, or let it end")
        mode, self._thread = self.model.training, threading.get_ident()
        try:
            self._stop.clear()
            self.model.train()
            with interrupts(self._stop, lambda: self._committing):
                self._evaluate()
                while self.step < until and not self._stop.is_set():
                    self._take_step()
                    self._evaluate()
                    if on_step is not None:
                        on_step(self)
        except KeyboardInterrupt:
            self._stop.set()
        finally:
            self.optimizer.zero_grad()
            self.model.train(mode)
            self._training.release()
        return self.record

    def save(self, path, *, vocabulary: Vocabulary | None = None) -> None:
        """Write the run to a file: the weights, the optimizer's moments and the record, between two steps.

        vocabulary: the one of the model, if any; its fingerprint is kept, and `load` can ask for it.

        It may be called from `on_step`. RuntimeError while another thread trains; ValueError for a model with other
        weights than its config says, such as that of `recall`, and for a vocabulary of another size.
        """
        if self._training.locked() and self._thread != threading.get_ident():
            raise RuntimeError(
                "this run is being trained in another thread; save it in its on_step, or stop() it first"
            )
        save_run(path, self, vocabulary)

    @classmethod
    def load(cls, path, *, batch_of, evaluate=None, vocabulary: Vocabulary | None = None, device=None) -> "Run":
        """Read what `save` wrote, and go on as if nothing had happened in between, on the CPU unless device is given.

        batch_of, evaluate: as the run was made with; no file holds a function. evaluate=False goes on without. What was
        recorded stays, the machine and the date of the beginning too; a number that an evaluation found and that was
        not finite is NaN. ValueError, naming the file, if it is damaged or foreign, was not saved with this vocabulary,
        or was evaluated and no evaluate is given; and for a device that torch cannot use here.
        """
        _check_functions(batch_of, None if evaluate is False else evaluate)
        vocabulary = None if vocabulary is None else check_vocabulary(vocabulary)
        return load_run(path, cls, batch_of, evaluate, vocabulary, usable_device("device", device))

    def _take_step(self) -> None:
        started, step = time.perf_counter(), self.step
        batch, read, taught = read_batch(self.batch_of(step), self._weights[0].device, "batch_of must return")
        self.optimizer.zero_grad()
        with _random(self.record.seed, step, self._weights[0].device):
            loss = self.model(**batch)[1]
            loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self._weights, math.inf if self.clip is None else self.clip).item()
        value = loss.item()  # on an accelerator this waits for the step; checking the ids of the next one would, too
        if not math.isfinite(value) or not math.isfinite(norm):
            what = f"loss is {value}" if not math.isfinite(value) else f"loss is {value:.3g}, but its gradient {norm}"
            raise FloatingPointError(
                f"step {step + 1} of {self.steps}: the {what}. The training diverged; this step was not taken. Begin a "
                f"new run with a lower learning_rate (it was {self.learning_rate:g}) or a longer warmup ({self.warmup})"
            )
        schedule = {"steps": self.steps, "warmup": self.warmup, "cooldown": self.cooldown}
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(step, peak=self.learning_rate, **schedule)
        self._committing = True  # what belongs together: no interrupt may come in between
        try:
            self.optimizer.step()
            torch.autograd.graph.increment_version(self._weights)  # fused steps do not, and a cache tells by it
            self.record.add_step(value, read, taught, time.perf_counter() - started)
        finally:
            self._committing = False

    def _evaluate(self) -> None:
        due = self.step in (0, self.steps) or (self.evaluate_every and self.step % self.evaluate_every == 0)
        if self.evaluate is None or not due or self.record.evaluated(self.step):
            return
        with torch.no_grad(), evaluating(self.model):
            self.record.add_evaluation(self.step, self.evaluate(self.model))


@torch.no_grad()
def target_loss(model: PrefixLM, examples) -> float:
    """Return the mean loss of all tokens that carry it, over a batch of examples or several.

    examples: an Example or a BlankInfilling of a batch, or a dict of arguments of `PrefixLM.forward`, targets included;
    or an iterable of such. Dropout is off. 0 if no token carries loss. TypeError or ValueError for anything else.
    """
    if not isinstance(model, PrefixLM):
        raise TypeError(f"model must be a PrefixLM, got {shown(model)}")
    if isinstance(examples, (Example, BlankInfilling, dict)):
        examples = [examples]
    elif not isinstance(examples, Iterable):
        raise TypeError(
            f"examples must be an Example, a BlankInfilling, a dict, or a list of them, got {shown(examples)}"
        )
    total, count = 0.0, 0
    with evaluating(model):
        for i, example in enumerate(examples):
            batch, _, taught = read_batch(example, model.embedding.weight.device, f"examples[{i}] must be")
            total += model(**batch)[1].item() * taught
            count += taught
    return total / max(count, 1)


def _check_functions(batch_of, evaluate) -> None:
    for name, value, needed in (("batch_of", batch_of, True), ("evaluate", evaluate, False)):
        if not callable(value) and (needed or value is not None):
            raise TypeError(f"{name} must be a function, got {shown(value)}")


@contextmanager
def _random(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Give this step random numbers of its own, and leave everybody else's as they are."""
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        torch.manual_seed(mixed_seed(seed, step))
        yield
