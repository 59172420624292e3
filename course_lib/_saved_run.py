"""A training run on disk: a checkpoint that holds the optimizer's moments and the record, too."""

from typing import TYPE_CHECKING

from .checkpoint import built, check_as_made, check_saved_vocabulary, read_checkpoint, save_checkpoint
from .model import Config, PrefixLM
from .training_record import Record

if TYPE_CHECKING:
    from .training import Run

FORMAT = "course_lib.training.Run"
MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each weight


def save_run(path, run: "Run", vocabulary) -> None:
    """Write a run: its model, the optimizer's moments, its record, what it was told, and the vocabulary, if given."""
    told = {} if vocabulary is None else {"vocabulary": run.model.check_vocabulary(vocabulary).fingerprint}
    check_as_made(run.model, PrefixLM)
    names = {weight: name for name, weight in run.model.named_parameters()}
    trained = {weight for group in run.optimizer.param_groups for weight in group["params"]}
    if not trained <= names.keys():
        raise ValueError("a run can be saved if it trains the weights of its model, but its layers were replaced")
    state = {f"model {name}": value for name, value in run.model.state_dict().items()}
    for weight, moments in run.optimizer.state.items():
        state |= {f"{moment} {names[weight]}": moments[moment] for moment in MOMENTS}
    frozen = [name for weight, name in names.items() if not weight.requires_grad]
    about = {"record": run.record.to_json(), "evaluate_every": run.evaluate_every, "frozen": frozen, **told}
    about["untrained"] = [name for weight, name in names.items() if weight not in trained]
    save_checkpoint(path, run.model.config, state, about=about, format=FORMAT)


def load_run(path, run_class: "type[Run]", batch_of, evaluate, vocabulary, device) -> "Run":
    """Return the run that was saved; ValueError, naming the file, if anything is wrong with it."""
    fields, state, about = read_checkpoint(path, FORMAT)
    check_saved_vocabulary(path, about, vocabulary)
    tensors = {kind: {} for kind in ("model", *MOMENTS)}
    for key, value in state.items():
        kind, _, name = key.partition(" ")
        tensors.setdefault(kind, {})[name] = value
    model = built(path, PrefixLM, Config, fields, tensors.pop("model")).to(device)
    try:
        record = Record.from_json(about["record"])
        frozen = [model.get_parameter(name) for name in about["frozen"]]
        # What was thawed or frozen since the run was made is still trained, or not, as it was then.
        for name in about.get("untrained", about["frozen"]):  # older files do not say what was frozen then
            model.get_parameter(name).requires_grad_(False)
        every = about["evaluate_every"]
        told = {"seed": record.seed, "objective": record.objective}
        if evaluate:
            told |= {"evaluate": evaluate, "evaluate_every": every}
        run = run_class(model, batch_of, **record.settings, **told)
        model.requires_grad_(True)
        for weight in frozen:
            weight.requires_grad_(False)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no valid run: {error}") from error
    if evaluate is None and (every is not None or record.evaluations):
        often = {None: "", 1: " every step"}.get(every, f" every {every} steps")
        raise ValueError(f"{path} was evaluated{often}: pass evaluate=..., or evaluate=False to go on without")
    run.record = record
    names = {weight: name for name, weight in model.named_parameters()}
    for weight in (weight for group in run.optimizer.param_groups for weight in group["params"]):
        moments = {moment: tensors[moment].get(names[weight]) for moment in MOMENTS}
        if any(value is not None for value in moments.values()):  # a weight without a gradient so far has none
            if any(value is None for value in moments.values()) or moments["exp_avg"].shape != weight.shape:
                raise ValueError(f"{path} holds no valid run: the optimizer's moments do not fit {names[weight]}")
            run.optimizer.state[weight] = {moment: value.to(weight.device) for moment, value in moments.items()}
    return run
