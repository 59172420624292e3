"""Models on disk: written whole or not at all, and read back only if nothing about the file is in doubt."""

import dataclasses
import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from ._files import file_path, write_whole

FORMAT, VERSION = "course_lib.PrefixLM", 1


def save_checkpoint(path, config, state: dict[str, Tensor]) -> None:
    """Write a model's config (a dataclass) and its weights to `path`, in place of a file that is there already."""
    fields = dataclasses.asdict(config)
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    content = {"format": FORMAT, "version": VERSION, "config": fields, "state": state}
    write_whole(path, lambda file: torch.save({**content, "digest": digest(fields, state)}, file))


def load_checkpoint(path, model_class, config_class, expected=None):
    """Return the model that was saved, on the CPU; ValueError, naming the file, if anything is wrong with it.

    expected: the config that the model must have, if any.
    """
    fields, state = read_checkpoint(path)
    try:
        config = config_class(**fields)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} holds no valid config: {error}") from error
    if expected is not None and config != expected:
        pairs = [(name, getattr(config, name), getattr(expected, name)) for name in fields]
        told = ", ".join(f"{name} is {own!r} and not {wanted!r}" for name, own, wanted in pairs if own != wanted)
        raise ValueError(f"{path} holds a model of another config: {told}")
    with torch.device("meta"):  # no memory and no random numbers for weights that are replaced at once
        model = model_class(config)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{path} holds weights that do not fit its config: {error}") from error
    return model


def read_checkpoint(path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the config's fields and the weights, on the CPU.

    Nothing in the file is executed (`weights_only=True`). FileNotFoundError if there is no such file; ValueError that
    names the file if it is no checkpoint of this format and version, or not as it was written: a digest of everything
    in it stands in it. That tells of damage and of careless edits; it proves nothing about who wrote the file.
    """
    path = file_path(path)
    with open(path, "rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises half a dozen types here, pickle another few
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{path} is no checkpoint, or a damaged one; torch says: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path} is a torch file, but no checkpoint of format {FORMAT!r}")
    if content.get("version") != VERSION:
        raise ValueError(f"{path} is a checkpoint of version {content.get('version')!r}, only {VERSION} can be read")
    fields, state = content.get("config"), content.get("state")
    if not isinstance(fields, dict) or not isinstance(state, dict):
        raise ValueError(f"{path} lacks its config or its weights")
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} has something among its weights that is no tensor")
    if digest(fields, state) != content.get("digest"):
        raise ValueError(f"{path} was changed after it was written: its digest does not fit what is in it")
    return fields, state


def digest(fields: dict, state: dict[str, Tensor]) -> str:
    """Return a SHA-256 of a config and all weights: names, types, shapes and bytes."""
    sha = hashlib.sha256(json.dumps(fields, sort_keys=True, default=repr).encode())
    for name, value in state.items():
        sha.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.contiguous().flatten().view(torch.uint8).numpy())
    return sha.hexdigest()
