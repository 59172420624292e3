"""The training loop: it learns, it repeats itself bit for bit, and no interruption leaves a trace."""

import copy
import math
import os
import signal
import threading

import pytest
import torch
from torch.nn import functional as F

from course_lib.checkpoint import digest
from course_lib.glm import blank_infilling, collate_blanks
from course_lib.model import Config, PrefixLM
from course_lib.objectives import Example, prefix_lm_batch
from course_lib.training import Run, learning_rate_at, target_loss
from course_lib.vocabulary import Vocabulary

STEPS = 8


@pytest.fixture(autouse=True)
def one_thread_and_interrupts():
    """Small models are quicker so. And what a shell starts in the background ignores interrupts, unless told not to."""
    threads, handler = torch.get_num_threads(), signal.getsignal(signal.SIGINT)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)
    torch.set_num_threads(threads)


def small_model(dropout=0.1, **options) -> PrefixLM:
    with torch.random.fork_rng([]):
        torch.manual_seed(3)
        return PrefixLM(Config(vocab_size=11, dim=16, layers=2, heads=2, max_len=16, dropout=dropout, **options))


def batch_of(step: int) -> Example:
    generator = torch.Generator().manual_seed(step)
    tokens = torch.randint(11, (4, 9), generator=generator)
    return prefix_lm_batch(tokens, [1, 3, 4, 2], lengths=[9, 5, 7, 3])


def a_run(**options) -> Run:
    model = options.pop("model", None) or small_model()
    return Run(model, options.pop("batch_of", batch_of), **{"steps": STEPS, "warmup": 2, "seed": 5, **options})


def bits(run: Run):
    """Everything that an interruption could have spoilt."""
    state = [state[name] for state in run.optimizer.state.values() for name in ("step", "exp_avg", "exp_avg_sq")]
    tensors = [*run.model.state_dict().values(), *state]
    return run.record.losses, run.record.tokens_read, [tensor.numpy().tobytes() for tensor in tensors]


@pytest.fixture(scope="module")
def uninterrupted():
    torch.set_num_threads(1)
    run = a_run()
    run.train()
    return bits(run)


# --- what a step does ------------------------------------------------------------------------------------------------


def test_a_step_is_adamw_as_it_was_written_down():
    """Two steps in float64 against the paper's equations, from torch's gradients alone."""
    model, by_hand = (small_model(dropout=0.0).double() for _ in range(2))
    run = a_run(model=model, steps=20, warmup=4, learning_rate=0.01, weight_decay=0.3, clip=0.2)
    weights = list(by_hand.parameters())
    first, second = [torch.zeros_like(one) for one in weights], [torch.zeros_like(one) for one in weights]
    for step in range(2):
        example = batch_of(step)
        logits = by_hand(example.inputs, example.prefix_len, lengths=example.lengths)[0]
        rows = example.loss_mask
        gradients = torch.autograd.grad(F.cross_entropy(logits[rows], example.targets[rows]), weights)
        norm = math.sqrt(sum(float((one**2).sum()) for one in gradients))
        assert norm > 0.2  # or clipping would not be tested
        rate = 0.01 * (step + 1) / 4
        with torch.no_grad():
            for i, weight in enumerate(weights):
                g = gradients[i] * 0.2 / norm
                first[i] = 0.9 * first[i] + 0.1 * g
                second[i] = 0.99 * second[i] + 0.01 * g**2
                mean, square = first[i] / (1 - 0.9 ** (step + 1)), second[i] / (1 - 0.99 ** (step + 1))
                weight *= 1 - rate * 0.3 * (weight.dim() >= 2)
                weight -= rate * mean / (square.sqrt() + 1e-8)
    run.train(until=2)
    for ours, theirs in zip(run.model.parameters(), weights, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=0)


def test_the_learning_rate_goes_up_in_a_line_stays_and_goes_down_in_a_line():
    schedule = {"steps": 100, "peak": 2.0, "warmup": 10, "cooldown": 25}
    rates = [learning_rate_at(step, **schedule) for step in range(100)]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[9:76] == [2.0] * 67
    assert rates[75:] == pytest.approx([0.08 * i for i in range(25, 0, -1)])
    assert [learning_rate_at(step, steps=3, peak=3.0, warmup=3, cooldown=0) for step in range(3)] == [1.0, 2.0, 3.0]
    assert [learning_rate_at(step, steps=3, peak=3.0, warmup=0, cooldown=3) for step in range(3)] == [3.0, 2.0, 1.0]
    assert [learning_rate_at(step, steps=4, peak=4.0, warmup=4, cooldown=4) for step in range(4)] == [1, 2, 2, 1]
    assert learning_rate_at(0, steps=1, peak=2.0, warmup=0, cooldown=0) == 2.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"step": 10}, "step must be from 0 to steps - 1 = 2, got 10"),
        ({"step": -1}, "step must be from 0 to steps - 1 = 2, got -1"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"warmup": 4}, "warmup must be from 0 to steps = 3, got 4"),
        ({"cooldown": 4}, "cooldown must be from 0 to steps = 3, got 4"),
    ],
)
def test_a_step_that_a_run_does_not_have_has_no_learning_rate(changes, says):
    with pytest.raises(ValueError, match=says):
        learning_rate_at(**{"step": 0, "steps": 3, "peak": 1.0, "warmup": 0, "cooldown": 1, **changes})


def test_it_overfits_one_batch():
    example = batch_of(0)
    run = a_run(model=small_model(dropout=0.0), batch_of=lambda step: example, steps=150, learning_rate=0.02)
    losses = run.train().losses
    assert losses[0] > 2
    assert losses[-1] < 0.05
    model = run.model
    said = model(example.inputs, example.prefix_len, lengths=example.lengths)[0].argmax(-1)
    assert said[example.loss_mask].tolist() == example.targets[example.loss_mask].tolist()


def test_only_tokens_that_carry_loss_are_counted_as_taught():
    record = a_run(steps=2).train()
    # of 9, 5, 7 and 3 tokens all but the last are read; with P = 1, 3, 4, 2 there are L - P targets
    assert record.tokens_read == [8 + 4 + 6 + 2] * 2
    assert record.tokens_taught == [8 + 2 + 3 + 1] * 2
    assert record.steps_done == 2
    assert record.seconds > 0


@pytest.mark.parametrize(
    ("packed", "wanted"),
    [
        ({"document_lens": [2, 3]}, 3 * 5),  # of seven places in each of three rows
        ({"document_lens": [[2, 3], [7], [1]], "prefix_len": [[1, 1], [1], [1]]}, 5 + 7 + 1),
        ({"document_lens": [2, 3], "lengths": [7, 4, 0]}, 5 + 4 + 0),
        ({"lengths": [7, 4, 0]}, 7 + 4 + 0),
        ({}, 3 * 7),
    ],
)
def test_only_tokens_of_a_document_are_counted_as_read(packed, wanted):
    tokens = torch.ones(3, 7, dtype=torch.int64)
    run = a_run(
        steps=1, warmup=0, batch_of=lambda step: {"tokens": tokens, "targets": tokens, "prefix_len": 1, **packed}
    )
    assert run.train().tokens_read == [wanted]
    assert run.record.tokens_taught == [wanted]  # with a prefix of one, all that is read teaches


def test_a_dict_of_arguments_is_a_batch_too_and_its_default_loss_mask_is_the_models():
    def as_dict(step):
        return {name: one for name, one in batch_of(step).arguments().items() if name != "loss_mask"}

    ours, theirs = a_run(batch_of=as_dict), a_run()
    assert ours.train().losses == theirs.train().losses
    assert ours.record.tokens_taught == theirs.record.tokens_taught


def test_a_batch_of_blanks_is_its_arguments():
    def blanks(step):
        ids = {"mask_id": 8, "start_id": 9, "end_id": 10}
        return collate_blanks([blank_infilling(range(7), [(1, 3)], **ids), blank_infilling([4, 5], [(0, 1)], **ids)], 0)

    runs = [
        a_run(model=small_model(positions="glm"), batch_of=batch_of)
        for batch_of in (blanks, lambda step: blanks(step).arguments())
    ]
    for run in runs:
        run.train()
    assert bits(runs[0]) == bits(runs[1])
    assert runs[0].record.tokens_read[0] == 6 + 3 + 2 + 2
    assert runs[0].record.tokens_taught[0] == 3 + 2
    model = runs[0].model
    assert target_loss(model, blanks(0)) == target_loss(model, blanks(0).arguments()) > 0


# --- the same again, bit for bit -------------------------------------------------------------------------------------


def test_two_runs_are_the_same_to_the_last_bit(uninterrupted):
    torch.rand(7)  # what others draw must not matter
    run = a_run()
    run.train(on_step=lambda run: torch.rand(3))
    assert bits(run) == uninterrupted


def test_a_run_leaves_torchs_random_numbers_alone():
    torch.manual_seed(1)
    a_run().train()
    drawn = torch.rand(2)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(2))


def test_another_seed_draws_another_dropout(uninterrupted):
    run = a_run(seed=6)
    run.train()
    assert run.record.losses != uninterrupted[0]


def test_each_step_draws_its_own_dropout():
    example = batch_of(0)
    losses = a_run(batch_of=lambda step: example, learning_rate=1e-12).train().losses
    assert len(set(losses)) == STEPS


@pytest.mark.parametrize("stops", [[0], [1], [3, 3, 5], list(range(STEPS + 1))])
def test_a_run_in_pieces_is_the_run_in_one(uninterrupted, stops):
    run = a_run()
    for until in stops:
        run.train(until)
        assert run.step == until
    run.train()
    assert run.finished
    assert bits(run) == uninterrupted
    run.train()  # nothing is left to do
    assert bits(run) == uninterrupted


@pytest.mark.parametrize("stops", [[0], [3], [2, 5], [STEPS]])
def test_a_run_that_was_saved_and_loaded_is_the_run_in_one(uninterrupted, tmp_path, stops):
    """Each part in an object of its own: nothing comes over but what is in the file."""
    path, measured = tmp_path / "run.pt", []

    def evaluate(model):
        measured.append(1)
        return {"loss": target_loss(model, batch_of(99))}

    run = a_run(evaluate=evaluate, evaluate_every=2, objective="stories")
    for until in stops:
        run.train(until, on_step=lambda run: run.save(path))  # in the middle of a training, too
        run.save(path)
        torch.rand(3)
        run = Run.load(path, batch_of=batch_of, evaluate=evaluate)
        assert run.step == until
    run.train()
    assert bits(run) == uninterrupted
    whole = a_run(evaluate=lambda model: {"loss": target_loss(model, batch_of(99))}, evaluate_every=2)
    assert run.record.evaluations == whole.train().evaluations
    assert len(measured) == 5  # none was repeated
    assert (run.record.objective, run.record.seed, run.record.settings) == ("stories", 5, whole.record.settings)
    assert os.listdir(tmp_path) == ["run.pt"]


@pytest.mark.parametrize(("every", "often"), [(2, " every 2 steps"), (1, " every step"), (None, "")])
def test_a_run_that_was_evaluated_goes_on_without_only_if_told_to(uninterrupted, tmp_path, every, often):
    path = tmp_path / "run.pt"
    run = a_run(evaluate=lambda model: {"loss": 1.0}, evaluate_every=every)
    run.train(3)
    run.save(path)
    with pytest.raises(ValueError, match=rf"run\.pt was evaluated{often}: pass evaluate=\.\.\., or evaluate=False"):
        Run.load(path, batch_of=batch_of)
    again = Run.load(path, batch_of=batch_of, evaluate=False)
    again.train()
    assert bits(again) == uninterrupted
    assert again.record.evaluations == run.record.evaluations


def test_a_run_knows_its_vocabulary_and_where_it_can_go(tmp_path):
    words, path = Vocabulary(["a", "b"], sentinels=0), tmp_path / "run.pt"
    run = a_run(model=PrefixLM(Config(vocab_size=len(words), dim=8, layers=1, heads=1)))
    run.save(path)
    with pytest.raises(ValueError, match=r"run\.pt was saved without saying with which vocabulary"):
        Run.load(path, batch_of=batch_of, vocabulary=words)
    run.save(path, vocabulary=words)
    Run.load(path, batch_of=batch_of)
    assert Run.load(path, batch_of=batch_of, vocabulary=Vocabulary(["a", "b"], sentinels=0)).step == 0
    with pytest.raises(ValueError, match=r"run\.pt was saved with another vocabulary"):  # of one size
        Run.load(path, batch_of=batch_of, vocabulary=Vocabulary(["b", "a"], sentinels=0))
    with pytest.raises(ValueError, match="vocabulary must be the model's own"):
        run.save(path, vocabulary=Vocabulary(["a"], sentinels=0))
    with pytest.raises(TypeError, match="vocabulary must be a Vocabulary, got 3"):
        Run.load(path, batch_of=batch_of, vocabulary=3)
    with pytest.raises(ValueError, match="device must be a device that torch can use here, got 'gpu'"):
        Run.load(path, batch_of=batch_of, device="gpu")


def test_a_run_of_half_frozen_16_bit_weights_goes_on_too(tmp_path):
    def made():
        model = small_model().bfloat16()
        model.embedding.weight.requires_grad_(False)
        return a_run(model=model, clip=None)

    whole, run = made(), made()
    whole.train()
    run.train(3)
    run.save(tmp_path / "run.pt")
    run = Run.load(tmp_path / "run.pt", batch_of=batch_of)
    run.train()
    for ours, theirs in zip(run.model.parameters(), whole.model.parameters(), strict=True):
        assert ours.requires_grad == theirs.requires_grad
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("later", [True, False])
def test_a_run_that_froze_or_thawed_weights_goes_on_too(tmp_path, later):
    """The optimizer holds what could be trained when the run was made; a frozen weight keeps its moments."""

    def halfway():
        model = small_model()
        model.embedding.weight.requires_grad_(not later)
        run = a_run(model=model)
        run.train(3)
        model.embedding.weight.requires_grad_(later)
        run.train(5)
        return run

    whole, run = halfway(), halfway()
    run.save(tmp_path / "run.pt")
    run = Run.load(tmp_path / "run.pt", batch_of=batch_of)
    for one in (run, whole):
        one.train(6)
        one.model.requires_grad_(True)
        one.train()
    assert bits(run) == bits(whole)


def test_an_older_file_does_not_say_what_was_not_trained(tmp_path):
    path, model = tmp_path / "run.pt", small_model()
    model.embedding.weight.requires_grad_(False)
    run = a_run(model=model)
    run.train(3)
    run.save(path)
    content = torch.load(path, weights_only=True)
    assert content["about"].pop("untrained") == ["embedding.weight"]
    content["digest"] = digest(content["config"], content["state"], content["about"])
    torch.save(content, path)
    again = Run.load(path, batch_of=batch_of)
    run.train()
    again.train()
    assert bits(again) == bits(run)


def test_a_run_whose_layers_were_replaced_is_not_saved(tmp_path):
    run = a_run()
    run.train(1)
    run.model.blocks[0] = copy.deepcopy(run.model.blocks[0])
    with pytest.raises(ValueError, match="it trains the weights of its model, but its layers were replaced"):
        run.save(tmp_path / "run.pt")


def test_what_is_no_saved_run_is_refused_by_name(tmp_path):
    path, run = tmp_path / "run.pt", a_run()
    run.train(1)
    run.model.save(path)
    with pytest.raises(ValueError, match=r"run.pt is .* no checkpoint of format 'course_lib.training.Run'"):
        Run.load(path, batch_of=batch_of)
    run.save(path)
    for wrong in ({"batch_of": 3}, {"batch_of": batch_of, "evaluate": 3}):
        with pytest.raises(TypeError, match="must be a function, got 3"):
            Run.load(path, **wrong)
    with pytest.raises(ValueError, match=r"no checkpoint of format 'course_lib\.PrefixLM'"):
        PrefixLM.load(path)
    content = torch.load(path, weights_only=True)
    for name, value, says in (
        ("state", {k: v for k, v in content["state"].items() if k != "exp_avg norm.weight"}, "moments do not fit norm"),
        ("state", {k: v for k, v in content["state"].items() if k != "model norm.weight"}, "do not fit its config"),
        ("about", {**content["about"], "record": "{}"}, "holds no valid run: text is no record"),
        ("about", {"record": content["about"]["record"]}, "holds no valid run: 'frozen'"),
    ):
        forged = {**content, name: value}
        forged["digest"] = digest(forged["config"], forged["state"], forged["about"])
        torch.save(forged, path)
        with pytest.raises(ValueError, match=says) as caught:
            Run.load(path, batch_of=batch_of)
        assert str(path) in str(caught.value)


class Interruption:
    """A batch_of in which something happens, once, when it is asked for one step."""

    def __init__(self, at: int, happens):
        self.at, self.happens = at, happens

    def __call__(self, step):
        if step == self.at and self.happens:
            happens, self.happens = self.happens, None
            happens()
        return batch_of(step)


def send_interrupt():
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("at", [0, 4, STEPS - 1])
def test_an_interrupt_in_mid_step_ends_the_training_behind_that_step(uninterrupted, at):
    before = signal.getsignal(signal.SIGINT)
    run = a_run(batch_of=Interruption(at, send_interrupt))
    run.train()
    assert run.step == at + 1
    assert signal.getsignal(signal.SIGINT) is before
    run.train()
    assert bits(run) == uninterrupted


def test_who_ignores_interrupts_goes_on_ignoring_them():
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run = a_run(batch_of=Interruption(4, send_interrupt))
    run.train()
    assert run.finished


def test_a_second_interrupt_does_not_wait_and_that_step_is_not_taken(uninterrupted):
    run = a_run(batch_of=Interruption(4, lambda: (send_interrupt(), send_interrupt())))
    run.train()
    assert run.step == 4
    run.train()
    assert bits(run) == uninterrupted


@pytest.mark.parametrize("place", ["forward", "backward", "write", "on_step", "evaluate"])
def test_interrupts_anywhere_in_a_step_leave_no_trace(uninterrupted, monkeypatch, place):
    """Two interrupts in the middle of the model, behind the gradients, while the weights are written, or around it."""
    run = a_run(evaluate=lambda model: hit("evaluate") or {"nothing": 0.0}, evaluate_every=1)
    left = [1]

    def hit(where):
        if where == place and run.step in (2, 3) and left:
            left.pop()
            send_interrupt()
            send_interrupt()

    run.model.blocks[1].register_forward_hook(lambda *_: hit("forward"))
    run.model.embedding.weight.register_hook(lambda gradient: hit("backward") or gradient)
    run.optimizer.register_step_post_hook(lambda *_: hit("write"))
    run.train(on_step=lambda run: hit("on_step"))
    assert not left
    assert run.step in (2, 3)
    run.train()
    assert bits(run) == uninterrupted
    assert run.record.evaluation("nothing")[0] == list(range(STEPS + 1))  # each once, in order


def test_an_error_in_a_batch_leaves_the_run_behind_its_last_whole_step(uninterrupted):
    def broken():
        raise OSError("the disk is gone")

    run = a_run(batch_of=Interruption(3, broken))
    with pytest.raises(OSError, match="disk"):
        run.train()
    assert run.step == 3
    run.train()
    assert bits(run) == uninterrupted


@pytest.mark.parametrize("mode", [True, False])
def test_the_model_is_left_in_the_mode_it_was_in(mode):
    run = a_run()
    run.model.train(mode)
    run.train(until=2)
    assert run.model.training is mode
    assert all(weight.grad is None for weight in run.model.parameters())


def test_stop_from_another_thread(uninterrupted):
    run = a_run()
    asked, stopped = threading.Event(), threading.Event()

    def other():
        asked.wait(30)
        run.stop()
        stopped.set()

    thread = threading.Thread(target=other)
    thread.start()

    def on_step(run):
        if run.step == 3:
            asked.set()
            stopped.wait(30)

    run.train(on_step=on_step)
    thread.join()
    assert run.step == 3
    run.train()
    assert bits(run) == uninterrupted


def test_it_trains_in_a_thread_of_its_own_and_refuses_a_second(uninterrupted):
    run = a_run()
    inside, free = threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: run.train(on_step=lambda run: (inside.set(), free.wait(30))))
    thread.start()
    assert inside.wait(30)
    with pytest.raises(RuntimeError, match="being trained already"):
        run.train()
    with pytest.raises(RuntimeError, match="being trained in another thread; save it in its on_step"):
        run.save("nowhere.pt")
    free.set()
    thread.join()
    assert bits(run) == uninterrupted


# --- what goes wrong -------------------------------------------------------------------------------------------------


def test_a_diverging_run_says_so_and_takes_no_step(uninterrupted):
    run = a_run()
    run.train(3)
    before = bits(run)
    healthy = run.model.norm.weight.clone()
    with torch.no_grad():
        run.model.norm.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match=r"step 4 of 8: the loss is nan.*lower learning_rate"):
        run.train()
    with torch.no_grad():
        run.model.norm.weight.copy_(healthy)
    assert bits(run) == before
    run.train()
    assert bits(run) == uninterrupted


def test_a_gradient_that_overflows_is_divergence_too():
    run = a_run()
    run.model.embedding.weight.register_hook(lambda gradient: gradient * math.inf)
    with pytest.raises(FloatingPointError, match="its gradient"):
        run.train()
    assert run.step == 0


def test_evaluations_come_first_last_and_in_between_without_dropout_or_gradients():
    seen = []

    def evaluate(model):
        seen.append((model.training, torch.is_grad_enabled()))
        return {"loss": target_loss(model, batch_of(99))}

    run = a_run(evaluate=evaluate, evaluate_every=3)
    run.train(4)
    run.train()
    assert run.record.evaluation("loss")[0] == [0, 3, 6, 8]
    assert seen == [(False, False)] * 4
    with pytest.raises(ValueError, match="name must be one of loss, got 'accuracy'"):
        run.record.evaluation("accuracy")


def test_target_loss_is_the_mean_over_tokens_not_over_batches():
    model = small_model()
    many = [batch_of(0), prefix_lm_batch(torch.arange(6)[None], 4)]
    losses = []
    model.eval()
    for example in many:
        logits = model(example.inputs, example.prefix_len, lengths=example.lengths)[0].detach().double().log_softmax(-1)
        rows = example.loss_mask.nonzero().tolist()
        losses += [-float(logits[b, t, example.targets[b, t]]) for b, t in rows]
    model.train()
    assert target_loss(model, many) == pytest.approx(sum(losses) / len(losses), abs=1e-5)
    assert model.training
    assert target_loss(model, []) == 0
    assert target_loss(model, many[0].arguments()) == target_loss(model, many[0])


@pytest.mark.parametrize(
    ("examples", "says"),
    [
        (
            [3],
            r"examples\[0\] must be an Example, a BlankInfilling, or a dict with tokens, prefix_len and targets, got 3",
        ),
        ([batch_of(0), {"tokens": 1}], r"examples\[1\] must be an Example, .*, got a dict of \['tokens'\]"),
        (math.nan, "examples must be an Example, a BlankInfilling, a dict, or a list of them, got nan"),
    ],
)
def test_what_is_no_example_has_no_loss(examples, says):
    with pytest.raises(TypeError, match=says):
        target_loss(small_model(), examples)


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"steps": 2.0}, TypeError, "steps must be a whole number"),
        ({"warmup": 9}, ValueError, "warmup must be from 0 to steps = 8, got 9"),
        ({"learning_rate": 0}, ValueError, "learning_rate must be finite and above 0, got 0"),
        ({"learning_rate": math.nan}, ValueError, "learning_rate must be finite"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number"),
        ({"weight_decay": -0.1}, ValueError, "weight_decay must be finite and at least 0"),
        ({"clip": 0}, ValueError, "clip must be finite and above 0"),
        ({"seed": -1}, ValueError, "seed must be at least 0"),
        ({"model": "gpt"}, TypeError, "model must be a PrefixLM"),
        ({"batch_of": 3}, TypeError, "batch_of must be a function"),
        ({"evaluate": 3}, TypeError, "evaluate must be a function"),
        ({"evaluate_every": 2}, ValueError, "evaluate_every is of no use without evaluate"),
        ({"objective": None}, TypeError, "objective must be words"),
        ({"model": small_model().requires_grad_(False)}, ValueError, "all of them are frozen"),
    ],
)
def test_what_is_refused(options, error, says):
    with pytest.raises(error, match=says):
        a_run(**options)


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (None, "must return an Example, a BlankInfilling, or a dict"),
        ({"tokens": torch.zeros(1, 2)}, r"a dict of \['tokens'\]"),
        (batch_of(0)._replace(inputs=batch_of(0).inputs[0]), r"tokens \(batch, length\)"),
        (batch_of(0)._replace(loss_mask=[True] * 8), r"loss_mask must be a tensor of shape \(8,\) or \(4, 8\), got"),
        (batch_of(0)._replace(prefix_len=[1, 2]), "all that is given per example"),
        (batch_of(0)._replace(prefix_len=[1, 2], lengths=None), "tell of 2 examples, but tokens are of 4"),
        (batch_of(0)._replace(prefix_len=9), "prefix_len must be from 0 to the length of tokens = 8, got 9"),
        (batch_of(0)._replace(inputs=batch_of(0).inputs + 5), "tokens must be from 0 to vocab_size - 1 = 10"),
    ],
)
def test_a_wrong_batch_is_named_and_no_step_is_taken(batch, says):
    run = a_run(batch_of=lambda step: batch)
    with pytest.raises((TypeError, ValueError), match=says):
        run.train()
    assert run.step == 0


def test_what_train_is_told_is_checked_before_the_first_step():
    run = a_run()
    with pytest.raises(ValueError, match="until must be from 0 to steps = 8, got 9"):
        run.train(9)
    with pytest.raises(TypeError, match="on_step must be a function, got 3"):
        run.train(on_step=3)
    assert run.step == 0


@pytest.mark.parametrize("said", [3, {"step": 1.0}, {"loss": "low"}, {"loss": True}])
def test_an_evaluation_that_returns_no_numbers_is_refused(said):
    with pytest.raises(TypeError, match="evaluate must return"):
        a_run(evaluate=lambda model: said).train()
