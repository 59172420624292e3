"""How the processes of a group see that they agree before they wait for each other."""

import hashlib
import reprlib

import torch
from torch import distributed as dist

NUMBERS = 3  # int64 that a process says: in trouble or not, its length, and a digest of all that must be the same
AGREEMENT_BYTES = 8 * NUMBERS


def agree(said: dict, length: int, trouble: Exception | None, group) -> list[int]:
    """Return every process's `length` if all said the same and none has trouble; otherwise every process raises.

    said        what must be the same, by the names under which an error speaks of it.
    trouble     what this process found wrong with its own inputs: raised here, while the others raise RuntimeError.

    ValueError if the processes differ, with what each said. One all-gather of a few numbers; only where something is
    wrong the words are gathered too.
    """
    world = dist.get_world_size(group)
    digest = int.from_bytes(hashlib.sha256(repr(said).encode()).digest()[:7])
    device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(group) == "nccl" else "cpu"
    mine = torch.tensor([trouble is not None, length, digest], device=device)
    found = [torch.empty_like(mine) for _ in range(world)]
    dist.all_gather(found, mine, group=group)
    found = torch.stack(found).tolist()
    in_trouble = [rank for rank, (wrong, *_) in enumerate(found) if wrong]
    if not in_trouble and len({one[2] for one in found}) == 1:
        return [one[1] for one in found]
    words = [None] * world
    mine = str(trouble) if trouble else {name: reprlib.repr(value) for name, value in said.items()}
    dist.all_gather_object(words, mine, group=group)
    if trouble is not None:
        raise trouble
    if in_trouble:
        raise RuntimeError(f"process {in_trouble[0]} of {world} refused its inputs: {words[in_trouble[0]]}")
    raise ValueError("; ".join(_difference(name, [one[name] for one in words]) for name in _differing(words)))


def _differing(words: list[dict]) -> list[str]:
    return [name for name in words[0] if len({one[name] for one in words}) > 1]


def _difference(name: str, values: list[str]) -> str:
    other = next(rank for rank, value in enumerate(values) if value != values[0])
    return (
        f"{name} must be the same in every process, got {values[0]} in process 0 and {values[other]} in process {other}"
    )
