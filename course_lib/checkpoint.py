"""Models on disk: written whole or not at all, and read back only if nothing about the file is in doubt.

A file holds a model's config, tensors by name, and `about`, what else there is to say of them in numbers and text.
"""

import dataclasses
import hashlib
import json
from typing import Any

import torch
from torch import Tensor

from ._check import shown
from ._files import file_path, write_whole

FORMAT, VERSION = "course_lib.PrefixLM", 1


def save_checkpoint(path, config, state: dict[str, Tensor], *, about: dict | None = None, format: str = FORMAT) -> None:
    """Write a config (a dataclass) and tensors to `path`, in place of a file that is there already.

    TypeError, and nothing is written, for a config that JSON could not hold: it could never be read again.
    """
    fields, about = dataclasses.asdict(config), about or {}
    state = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    content = {"format": format, "version": VERSION, "config": fields, "state": state, "about": about}
    content["digest"] = digest(fields, state, about)
    write_whole(path, lambda file: torch.save(content, file))


def check_as_made(model, model_class) -> None:
    """Refuse to save a model with other weights, by name or by shape, than those that its config makes."""
    with torch.device("meta"):
        made = {name: value.shape for name, value in model_class(model.config).state_dict().items()}
    if made != {name: value.shape for name, value in model.state_dict().items()}:
        raise ValueError("a model can be saved if it is as its config makes one, but its layers were replaced")


def load_checkpoint(path, model_class, config_class, expected=None, vocabulary=None):
    """Return the model that was saved, on the CPU; ValueError, naming the file, if anything is wrong with it.

    expected: the config that the model must have, if any. vocabulary: the one it must have been saved with, if any.
    """
    if expected is not None and not isinstance(expected, config_class):
        raise TypeError(f"config must be a {config_class.__name__} or None, got {shown(expected)}")
    fields, state, about = read_checkpoint(path)
    check_saved_vocabulary(path, about, vocabulary)
    return built(path, model_class, config_class, fields, state, expected)


def check_saved_vocabulary(path, about: dict, vocabulary) -> None:
    """Refuse a file that was not saved with this vocabulary; any will do for None."""
    told = about.get("vocabulary")
    if vocabulary is not None and told != vocabulary.fingerprint:
        how = "without saying with which vocabulary" if told is None else f"with another vocabulary ({told})"
        raise ValueError(f"{path} was saved {how}, but {vocabulary!r} ({vocabulary.fingerprint}) is asked for")


def built(path, model_class, config_class, fields: dict, state: dict[str, Tensor], expected=None):
    """Return a model of this config (its fields) and these weights; ValueError, naming the file, if they do not fit."""
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


def read_checkpoint(path, format: str = FORMAT) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """Return the config's fields, the tensors on the CPU, and what else is said of them.

    Nothing in the file is executed (`weights_only=True`). FileNotFoundError if there is no such file; ValueError that
    names the file if it is no checkpoint of this format and version, or not as it was written: a digest of everything
    in it stands in it. That tells of damage and of careless edits; it proves nothing about who wrote the file.
    """
    path = file_path(path)
    with open(path, "rb") as file:
        try:
            content = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises half a dozen types here, pickle another few
            lines = (str(error) or type(error).__name__).splitlines()
            reason = lines[0].partition(". ")[0]  # what follows is advice, to trust the file, in colours of a terminal
            raise ValueError(f"{path} is no checkpoint, or a damaged one; torch says: {reason}") from error
    if not isinstance(content, dict) or content.get("format") != format:
        raise ValueError(f"{path} is a torch file, but no checkpoint of format {format!r}")
    if content.get("version") != VERSION:
        raise ValueError(f"{path} is a checkpoint of version {content.get('version')!r}, only {VERSION} can be read")
    fields, state, about = content.get("config"), content.get("state"), content.get("about", {})
    if not all(isinstance(one, dict) for one in (fields, state, about)):
        raise ValueError(f"{path} lacks its config or its weights")
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} has something among its weights that is no tensor")
    try:
        found = digest(fields, state, about)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} holds something that no checkpoint holds: {error}") from error
    if found != content.get("digest"):
        raise ValueError(f"{path} was changed after it was written: its digest does not fit what is in it")
    return fields, state, about


def digest(fields: dict, state: dict[str, Tensor], about: dict | None = None) -> str:
    """Return a SHA-256 of a config, all tensors, and what is said of them: names, types, shapes and bytes."""
    sha = hashlib.sha256(json.dumps(fields, sort_keys=True).encode())
    if about:  # of a file without it, the digest is what it was before there was any
        sha.update(b"\n" + json.dumps(about, sort_keys=True).encode())
    for name, value in state.items():
        sha.update(f"\n{name} {value.dtype} {tuple(value.shape)}\n".encode())
        sha.update(value.contiguous().flatten().view(torch.uint8).numpy())
    return sha.hexdigest()
