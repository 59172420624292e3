"""The records that lessons draw: they are of this code, they repeat, and they hold every run that they speak of."""

import json

import experiments
import pytest
import torch

from course_lib import arms, blank_arms, recall, regression
from course_lib.classroom import blank_evidence, evidence
from course_lib.data import python_docs, read_outline

RECORDS = {file.stem: json.loads(file.read_text("utf-8")) for file in sorted(evidence.RESULTS.glob("*.json"))}
TOLERANCE = 2e-3  # nats: sums in another order, on another processor, grow to this in twenty steps, and hardly more


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_every_experiment_has_its_record_and_every_record_its_experiment():
    assert set(RECORDS) == set(experiments.EXPERIMENTS)


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_record_says_where_it_comes_from(record):
    assert record["seeds"] >= 3
    assert "CPU" in record["machine"]
    assert "torch" in record["machine"]
    assert record["date"].count("-") == 2
    assert record["command"].startswith("make experiments")


def test_prefix_lm_was_recorded_with_the_sizes_that_the_lesson_trains():
    record = RECORDS["prefix_lm"]
    assert record["config"] == {"stories": arms.STORYTELLER, "docs": arms.TEXT}
    runs = [(run["data"], run["arm"], run["seed"]) for run in record["arms"]]
    assert sorted(runs) == sorted(
        (data, arm, seed) for data in ("stories", "docs") for arm in arms.ARMS for seed in range(record["seeds"])
    )
    swept = sorted((run["trained"], run["seed"]) for run in record["sweep"])
    assert swept == sorted((kind, seed) for kind in ("fixed", "drawn") for seed in range(record["seeds"]))


def test_prefix_lm_arms_read_the_same_tokens():
    for data in ("stories", "docs"):
        for seed in range(RECORDS["prefix_lm"]["seeds"]):
            runs = [run for run in RECORDS["prefix_lm"]["arms"] if (run["data"], run["seed"]) == (data, seed)]
            everywhere, causal, prefix = (run["tokens_taught"] for run in runs)
            assert len({run["tokens_read"] for run in runs}) == 1
            assert causal == prefix < everywhere == runs[0]["tokens_read"]


@pytest.mark.parametrize(("data", "make"), [("stories", arms.storyteller_run), ("docs", arms.text_run)])
def test_prefix_lm_repeats(data, make):
    arm = arms.ARMS[2]
    recorded = next(run for run in RECORDS["prefix_lm"]["arms"] if (run["data"], run["arm"]) == (data, arm))
    run = make(recorded["seed"], arm)
    run.evaluate = None
    losses = run.train(experiments.FIRST).losses
    assert len(recorded["first_losses"]) == experiments.FIRST
    assert losses == pytest.approx(recorded["first_losses"], abs=TOLERANCE)


def test_glm_was_recorded_with_these_sizes_and_every_arm():
    record = RECORDS["glm"]
    assert (record["config"], record["mask_ratio"]) == (blank_arms.BLANKS, blank_arms.MASK_RATIO)
    runs = sorted((run["arm"], run["seed"]) for run in record["arms"])
    assert runs == sorted((arm, seed) for arm in blank_arms.BLANK_ARMS for seed in range(record["seeds"]))
    for seed in range(record["seeds"]):
        assert len({(r["tokens_read"], r["tokens_taught"]) for r in record["arms"] if r["seed"] == seed}) == 1


def test_glm_repeats():
    recorded = next(run for run in RECORDS["glm"]["arms"] if run["arm"] == blank_arms.BLANK_ARMS[0])
    run = blank_arms.blank_arm_run(recorded["seed"], recorded["arm"])
    run.evaluate = None
    assert run.train(experiments.FIRST).losses == pytest.approx(recorded["first_losses"], abs=TOLERANCE)


def test_glm_docs_was_recorded_with_these_sizes_and_repeats():
    record = RECORDS["glm_docs"]
    assert (record["config"], record["long_share"]) == (blank_arms.GLM, blank_arms.LONG_SHARE)
    assert [run["seed"] for run in record["runs"]] == list(range(record["seeds"]))
    run = blank_arms.glm_run(0, text=python_docs())
    run.evaluate = None
    losses = run.train(experiments.FIRST).losses
    assert losses == pytest.approx(record["runs"][0]["first_losses"], abs=TOLERANCE)


def test_palm_was_recorded_with_these_sizes_and_every_block():
    record = RECORDS["palm"]
    assert record["config"] == {"stories": arms.STORYTELLER, "docs": arms.TEXT}
    runs = sorted((run["data"], run["arm"], run["seed"]) for run in record["arms"])
    blocks, seeds = ("serial", "parallel"), range(record["seeds"])
    assert runs == sorted((data, block, seed) for data in evidence.DATA for block in blocks for seed in seeds)
    for data in evidence.DATA:
        for seed in seeds:
            read = [run["tokens_taught"] for run in record["arms"] if (run["data"], run["seed"]) == (data, seed)]
            assert len(set(read)) == 1


@pytest.mark.parametrize("data", ["stories, half rate", "docs"])
def test_palm_repeats(data):
    recorded = next(run for run in RECORDS["palm"]["arms"] if (run["data"], run["arm"]) == (data, "parallel"))
    run = experiments.palm_run(data, recorded["seed"], "parallel")
    run.evaluate = None
    assert run.train(experiments.FIRST).losses == pytest.approx(recorded["first_losses"], abs=TOLERANCE)


def test_linear_was_recorded_with_these_sizes_and_repeats():
    record = RECORDS["linear"]
    assert record["config"] == {"stories": arms.STORYTELLER}
    runs = sorted((run["arm"], run["seed"]) for run in record["arms"])
    assert runs == sorted((arm, seed) for arm in experiments.LINEAR_ARMS for seed in range(record["seeds"]))
    recorded = next(run for run in record["arms"] if run["arm"] == "divided by the sum")
    run = experiments.linear_run(recorded["seed"], recorded["arm"])
    run.evaluate = None
    assert run.train(experiments.FIRST).losses == pytest.approx(recorded["first_losses"], abs=TOLERANCE)


def test_recall_was_recorded_with_these_sizes_and_repeats():
    record = RECORDS["recall"]
    assert record["config"] == recall.RECALL
    runs = sorted((run["arm"], run["seed"]) for run in record["arms"])
    assert runs == sorted((arm, seed) for arm in recall.ARMS for seed in range(record["seeds"]))
    recorded = next(run for run in record["arms"] if run["arm"] == "prefix, question last")
    run = recall.recall_run(recorded["seed"], recorded["arm"])
    run.evaluate = None
    assert run.train(experiments.FIRST).losses == pytest.approx(recorded["first_losses"], abs=TOLERANCE)


def test_regression_was_recorded_with_these_sizes_and_repeats():
    record = RECORDS["regression"]
    assert record["config"] == regression.REGRESSION
    runs = sorted((run["arm"], run["layers"], run["seed"]) for run in record["arms"])
    layers, seeds = experiments.REGRESSION_LAYERS, range(record["seeds"])
    assert runs == sorted((arm, n, seed) for arm in experiments.REGRESSION_MASKS for n in layers for seed in seeds)
    recorded = next(run for run in record["arms"] if (run["arm"], run["layers"]) == ("prefix", 3))
    _, losses = regression.train_regression(recorded["seed"], prefix=True, layers=3, until=experiments.FIRST)
    assert losses == pytest.approx(recorded["first_losses"], abs=TOLERANCE)


def test_the_glm_experiment_runs_from_end_to_end(tmp_path, monkeypatch, capsys):
    tiny = {"dim": 16, "layers": 1, "heads": 2, "batch_size": 2, "steps": 1}
    monkeypatch.setattr(blank_arms, "BLANKS", blank_arms.BLANKS | tiny)
    monkeypatch.setattr(blank_arms, "HELD_OUT", 3)
    assert experiments.main(["glm", "--seeds", "1", "--out", str(tmp_path)]) == 0
    results = json.loads((tmp_path / "glm.json").read_text())
    assert results["command"] == "make experiments EXPERIMENTS=glm"
    assert len(blank_evidence.picture(results).axes) == 2
    assert "GLM: 0% in order" in blank_evidence.in_words(results)


def test_an_experiment_runs_from_end_to_end(tmp_path, monkeypatch, capsys):
    """Tiny, and with the lesson's own pictures and sentences at its end."""
    tiny = {"dim": 16, "layers": 1, "heads": 2, "batch_size": 2, "steps": 2}
    monkeypatch.setattr(arms, "STORYTELLER", arms.STORYTELLER | tiny)
    monkeypatch.setattr(arms, "TEXT", arms.TEXT | tiny)
    monkeypatch.setattr(arms, "HELD_OUT", 4)
    assert experiments.main(["prefix_lm", "--seeds", "2", "--out", str(tmp_path)]) == 0
    monkeypatch.setattr(evidence, "RESULTS", tmp_path)
    results = evidence.load("prefix_lm")
    assert [file.name for file in tmp_path.iterdir()] == ["prefix_lm.json"]
    assert len(results["arms"]) == 2 * 3 * 2
    assert evidence.winner(results, "docs") in (*arms.ARMS, evidence.NO_WINNER)
    assert len(evidence.arms_picture(results).axes) == 2
    assert len(evidence.sweep_picture(results).axes) == 1
    assert f"Outline: {experiments.OUTLINE}" in evidence.stories(results)


def test_the_outline_that_every_arm_is_given_is_held_out():
    assert read_outline(experiments.OUTLINE).split == "held_out"


def test_no_seeds_is_refused(capsys):
    with pytest.raises(SystemExit):
        experiments.main(["--seeds", "0"])
    assert "--seeds must be at least 1, got 0" in capsys.readouterr().err
