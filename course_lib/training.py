"""Training: one loop for every lesson and experiment. It can be stopped at any time, and goes on as if it had not been.

    run = Run(model, batch_of, steps=300, learning_rate=3e-3)
    run.train()          # Interrupt, or run.stop() from another thread, ends it between two steps
    run.train()          # goes on where it stopped; nothing is lost, and nothing is done twice
    run.record           # what happened: losses, tokens, seconds, machine

What a step does depends on the weights, the optimizer, the seed and the number of the step, and on nothing else. So on
the CPU, with the same number of threads, the same run gives the same bits, however often it was stopped on the way.
"""

import dataclasses
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from ._check import real_number, short, shown, whole_number
from .generation import evaluating
from .loss import default_loss_mask
from .masks import Visibility
from .model import PrefixLM
from .objectives import Example
from .training_record import Record, machine, today

__all__ = ["Record", "Run", "learning_rate_at", "target_loss"]


def learning_rate_at(step: int, *, steps: int, peak: float, warmup: int, cooldown: int) -> float:
    """Return the learning rate of a step, 0..steps - 1: up in a line to `peak`, where it stays, and down in a line.

    The first of `warmup` steps has peak / warmup, the last of all has peak / cooldown; where the two lines meet under
    the peak, the lower one counts. In a run of a few hundred steps, where a model learns one thing after the other,
    what it gains in the long middle is lost under a cosine, which is low by then.

    Sources: Goyal et al. 2017, section 2.2 (warm-up); Hägele et al. 2024, arXiv 2405.18392 (constant, then cooldown).
    """
    up = (step + 1) / warmup if warmup else 1.0
    down = (steps - step) / cooldown if cooldown else 1.0
    return peak * min(1.0, up, down)


class Run:
    """A model on its way through its training.

    model           a PrefixLM; it is trained where it lies.
    batch_of        batch_of(step) returns what step 0, 1, ... reads: an Example of a batch, or a dict of arguments of
                    PrefixLM.forward, targets included. It must depend on the step alone, not on what it was asked
                    before; it is moved to the model's device.
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
    0.99, as suits a few hundred steps.
    """

    def __init__(
        self,
        model: PrefixLM,
        batch_of: Callable[[int], Example | dict],
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
        for name, value, needed in (("batch_of", batch_of, True), ("evaluate", evaluate, False)):
            if not callable(value) and (needed or value is not None):
                raise TypeError(f"{name} must be a function, got {shown(value)}")
        if not isinstance(objective, str):
            raise TypeError(f"objective must be words, got {shown(objective)}")
        self.steps = whole_number("steps", steps, low=1)
        limit = {"high": steps, "high_name": "steps"}
        self.warmup = self.steps // 10 if warmup is None else whole_number("warmup", warmup, **limit)
        self.cooldown = self.steps // 4 if cooldown is None else whole_number("cooldown", cooldown, **limit)
        self.learning_rate = real_number("learning_rate", learning_rate, low=0, above=True)
        self.clip = None if clip is None else real_number("clip", clip, low=0, above=True)
        if evaluate_every is not None:
            whole_number("evaluate_every", evaluate_every, low=1)
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
        self._committing = False

    @property
    def step(self) -> int:
        """How many steps are done."""
        return self.record.steps_done

    @property
    def finished(self) -> bool:
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
        if not self._training.acquire(blocking=False):
            raise RuntimeError("this run is being trained already; call stop() and wait, or let it end")
        mode = self.model.training
        try:
            self._stop.clear()
            self.model.train()
            with self._interrupts():
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

    def _take_step(self) -> None:
        started, step = time.perf_counter(), self.step
        batch, read, taught = _checked(self.batch_of(step), self._weights[0].device)
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
            self.record.add_step(value, read, taught, time.perf_counter() - started)
        finally:
            self._committing = False

    def _evaluate(self) -> None:
        due = self.step in (0, self.steps) or (self.evaluate_every and self.step % self.evaluate_every == 0)
        if self.evaluate is None or not due or self.record.evaluated(self.step):
            return
        with torch.no_grad(), evaluating(self.model):
            self.record.add_evaluation(self.step, self.evaluate(self.model))

    @contextmanager
    def _interrupts(self) -> Iterator[None]:
        """Let the first Interrupt (Ctrl-C) ask for a stop; let the second one raise, unless a step is being written."""
        # Python runs signal handlers in the main thread alone, and elsewhere raises no KeyboardInterrupt either.
        before = signal.getsignal(signal.SIGINT) if threading.current_thread() is threading.main_thread() else None
        if before in (None, signal.SIG_IGN):
            yield
            return

        def on_interrupt(number, frame):
            again = self._stop.is_set()
            self._stop.set()
            if again and not self._committing:
                raise KeyboardInterrupt

        signal.signal(signal.SIGINT, on_interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


@torch.no_grad()
def target_loss(model: PrefixLM, examples) -> float:
    """Return the mean loss of all tokens that carry it, over a batch of examples (an Example) or several.

    Dropout is off. 0 if no token carries loss.
    """
    total, count = 0.0, 0
    with evaluating(model):
        for example in [examples] if isinstance(examples, Example) else examples:
            batch, _, taught = _checked(example, model.embedding.weight.device)
            total += model(**batch)[1].item() * taught
            count += taught
    return total / max(count, 1)


def _checked(batch: Example | dict, device) -> tuple[dict, int, int]:
    """Return the arguments of PrefixLM.forward on the device, how many tokens are read, and how many carry loss."""
    if isinstance(batch, Example):
        names = ("tokens", "targets", "loss_mask", "prefix_len", "lengths")
        batch = dict(zip(names, batch, strict=True))
    if not isinstance(batch, dict) or not {"tokens", "prefix_len", "targets"} <= batch.keys():
        what = f"a dict of {', '.join(batch)}" if isinstance(batch, dict) else shown(batch)
        raise TypeError(
            f"batch_of must return an Example, or a dict with tokens, prefix_len and targets, got {short(what)}"
        )
    batch = {name: one.to(device) if isinstance(one, Tensor) else one for name, one in batch.items()}
    tokens = batch["tokens"]
    if not isinstance(tokens, Tensor) or tokens.dim() != 2:
        raise ValueError(f"batch_of must return a batch, tokens (batch, length), got {shown(tokens)}")
    seen = Visibility(batch["prefix_len"], batch.get("lengths"), batch.get("document_lens"))
    if batch.get("loss_mask") is None:
        batch["loss_mask"] = default_loss_mask(seen, tokens.shape[1], device=device)
    read = tokens.numel() if seen.lengths is None else sum(seen.lengths)
    return batch, read, int(batch["loss_mask"].expand(tokens.shape).sum())


@contextmanager
def _random(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Give this step random numbers of its own, and leave everybody else's as they are."""
    with torch.random.fork_rng([] if device.type == "cpu" else [device]):
        torch.manual_seed((seed * 1_000_003 + step) % 2**63)
        yield
