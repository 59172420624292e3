"""The training panel in Python: what it sends, how seldom, and what a stop, an interrupt and an error leave."""

import os
import signal
import threading
from itertools import pairwise

import numpy as np
import pytest
import torch

from course_lib.classroom import training_panel
from course_lib.classroom.training_panel import TrainingPanel, train_live
from course_lib.model import Config, PrefixLM
from course_lib.objectives import prefix_lm_batch
from course_lib.training import Run


@pytest.fixture(autouse=True)
def one_thread_and_interrupts():
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)
    torch.set_num_threads(threads)


def batch_of(step):
    return prefix_lm_batch(torch.randint(5, (2, 6), generator=torch.Generator().manual_seed(step)), 2)


def a_run(steps=6, **options) -> Run:
    torch.manual_seed(0)
    model = PrefixLM(Config(vocab_size=5, dim=8, layers=1, heads=1))
    return Run(model, options.pop("batch_of", batch_of), **{"steps": steps, "objective": "a test", **options})


def curve(panel) -> list[float]:
    return np.frombuffer(panel.losses, dtype="<f4").tolist()


def press_stop(panel):
    """Press the button as JupyterLab does: its message comes in a thread of its own."""
    thread = threading.Thread(target=panel._receive, args=(panel, {"type": "stop"}, []))
    thread.start()
    thread.join(30)


def test_a_panel_tells_all_that_happened():
    run = a_run(evaluate=lambda model: {"target loss": 1.5, "cards kept": 2 / 3})
    panel = TrainingPanel(run)
    assert (panel.title, panel.state, panel.step, panel.steps) == ("a test", "ready", 0, 6)
    assert panel.describe() == "Training, a test: 0 of 6 steps are done."
    assert panel.fallback() == {}
    record = panel.train()
    assert record is run.record
    assert (panel.state, panel.step) == ("finished", 6)
    assert curve(panel) == pytest.approx(record.losses)
    assert (panel.tokens_read, panel.tokens_taught) == (6 * 2 * 5, 6 * 2 * 4)
    assert panel.seconds == record.seconds > 0
    assert panel.measured == "target loss 1.5, cards kept 0.667 (after 6 steps)"
    assert panel.message == "Finished: all 6 steps are done."
    assert panel.describe() == f"Training, a test: 6 of 6 steps are done. The loss is {record.losses[-1]:.3g}."
    assert panel.fallback()["image/png"].startswith(b"\x89PNG")


def test_a_finished_run_says_so_and_stays_as_it_is():
    run = a_run()
    run.train()
    losses = list(run.record.losses)
    panel = TrainingPanel(run, title="Again")
    assert panel.state == "finished"
    panel.train()
    assert run.record.losses == losses
    assert "finished already; for another, make a new run" in panel.message


def test_stop_ends_behind_the_step_and_the_next_panel_goes_on():
    run, whole = a_run(), a_run()
    whole.train()
    panel = TrainingPanel(run)
    states = []
    panel.observe(lambda change: states.append(change["new"]), "state")
    panel.train(on_step=lambda run: press_stop(panel) if run.step == 2 else None)
    assert states == ["running", "stopping", "stopped"]
    assert run.step == panel.step == 2
    assert panel.message == "Stopped after step 2 of 6. Run the cell again to go on from there."
    again = TrainingPanel(run)
    assert (again.state, again.step) == ("stopped", 2)
    again.train()
    assert run.record.losses == whole.record.losses
    press_stop(panel)  # the old button, while nothing trains
    assert panel.state == "stopped"


def test_an_interrupt_is_a_stop():
    def interrupted(step):
        if step == 3 and left.pop():
            os.kill(os.getpid(), signal.SIGINT)
        return batch_of(step)

    left = [False, True]
    run = a_run(batch_of=interrupted)
    panel = TrainingPanel(run)
    panel.train()
    assert (panel.state, panel.step) == ("stopped", 4)
    assert "Run the cell again" in panel.message


def test_an_interrupt_that_comes_too_late_for_the_run_is_no_error_either(monkeypatch):
    run = a_run()
    train = run.train

    def late(*arguments, **options):
        train(3)
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "train", late)
    panel = TrainingPanel(run)
    assert panel.train() is run.record
    assert (panel.state, panel.step) == ("stopped", 3)


def test_divergence_is_told_in_the_panel_and_raised():
    run = a_run()
    with torch.no_grad():
        run.model.norm.weight.fill_(float("nan"))
    panel = TrainingPanel(run)
    with pytest.raises(FloatingPointError):
        panel.train()
    assert panel.state == "failed"
    assert "lower learning_rate" in panel.message


def test_any_other_error_says_which_weights_are_left():
    def broken(step):
        if step == 2:
            raise OSError("no such file")
        return batch_of(step)

    panel = TrainingPanel(a_run(batch_of=broken))
    with pytest.raises(OSError, match="no such file"):
        panel.train()
    assert panel.state == "failed"
    assert panel.message.startswith("OSError: no such file. The weights are those after step 2 of 6;")


def test_the_browser_hears_of_it_ten_times_a_second_at_most(monkeypatch):
    """With a clock that moves 30 ms a step, every fourth step is shown."""
    clock = [0.0]
    monkeypatch.setattr(training_panel.time, "monotonic", lambda: clock[0])
    run = a_run(steps=40)
    panel = TrainingPanel(run)
    seen = []
    panel.observe(lambda change: seen.append(change["new"]), "step")

    def tick(step):
        clock[0] += 0.03
        return batch_of(step)

    run.batch_of = tick
    panel.train()
    assert len(seen) == 10
    assert all(later - earlier == 4 for earlier, later in pairwise(seen))
    assert seen[-1] == 40


def test_a_long_curve_is_sent_as_means():
    losses = [float(i % 7) for i in range(4501)]
    every, points = training_panel._points(losses)
    points = np.frombuffer(points, dtype="<f4")
    assert every == 3
    expected = [np.mean(losses[i : i + 3]) for i in range(0, 4501, 3)]
    assert points.tolist() == pytest.approx(expected, rel=1e-6)
    assert training_panel._points([]) == (1, b"")


@pytest.mark.parametrize("content", [None, "stop", {}, {"type": "go"}, {"type": ["stop"]}])
def test_other_messages_do_nothing(content):
    run = a_run()
    panel = TrainingPanel(run)
    panel.train(on_step=lambda run: panel._receive(panel, content, []))
    assert panel.state == "finished"


def test_train_live_shows_the_panel_before_it_trains(monkeypatch):
    shown = []
    monkeypatch.setattr(training_panel, "display", lambda panel: shown.append((panel, panel.state)))
    run = a_run()
    assert train_live(run, title="Mine", until=4) is None
    ((panel, state),) = shown
    assert (state, panel.title, panel.state, run.step) == ("ready", "Mine", "stopped", 4)
    train_live(run)
    assert run.finished
    assert len(shown) == 2


def test_what_is_no_run_is_refused():
    with pytest.raises(TypeError, match="run must be a course_lib"):
        TrainingPanel("run")
    with pytest.raises(TypeError, match="title must be a str"):
        TrainingPanel(a_run(), title=3)
