"""What the processes of a group send each other when they share work, and how they see first that they agree."""

import hashlib
import time
from dataclasses import dataclass

import torch
from torch import Tensor
from torch import distributed as dist

from .sequence_costs import reduced_bytes


@dataclass
class Traffic:
    """What this process has sent and received so far, in bytes, in how many calls, and the seconds that they took.

    An all-reduce counts 2 (N - 1) / N of its bytes each way, the least that there is; a process cannot see what really
    went over the wire. The seconds include waiting for the others. On an accelerator they say little.
    """

    calls: int = 0
    sent: int = 0
    received: int = 0
    seconds: float = 0.0


class Wires:
    """What travels between the processes of a group, counted under a name."""

    def __init__(self, group, traffic: dict[str, Traffic]):
        self.group, self.traffic = group, traffic
        self.rank, self.world = dist.get_rank(group), dist.get_world_size(group)
        if self.rank < 0:
            raise ValueError("group must be one that this process belongs to")

    def agree(self, said: dict, length: int, trouble: Exception | None) -> list[int]:
        """Return every process's `length` if all said the same and none has trouble; otherwise every process raises.

        said        what must be the same, by the names under which an error speaks of it.
        trouble     what this process found wrong with its own inputs: raised here, while the others raise RuntimeError.

        ValueError if the processes differ, with what each said. One all-gather of a few numbers; only where something
        is wrong the words are gathered too.
        """
        digest = int.from_bytes(hashlib.sha256(repr(said).encode()).digest()[:7])
        device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(self.group) == "nccl" else "cpu"
        mine = torch.tensor([trouble is not None, length, digest], device=device)
        found = [torch.empty_like(mine) for _ in range(self.world)]
        self._timed("agreement", lambda: dist.all_gather(found, mine, group=self.group))
        self._count("agreement", mine.nbytes * (self.world - 1))
        found = torch.stack(found).tolist()
        in_trouble = [rank for rank, (wrong, *_) in enumerate(found) if wrong]
        if not in_trouble and len({one[2] for one in found}) == 1:
            return [one[1] for one in found]
        words = [None] * self.world
        mine = str(trouble) if trouble else {name: repr(value) for name, value in said.items()}
        dist.all_gather_object(words, mine, group=self.group)
        if trouble is not None:
            raise trouble
        if in_trouble:
            first = in_trouble[0]
            raise RuntimeError(f"process {first} of {self.world} refused its inputs: {words[first]}")
        raise ValueError(_differences(words))

    def sum(self, name: str, share: Tensor) -> Tensor:
        """Return the sum of all processes' shares."""
        whole = share.clone(memory_format=torch.contiguous_format)
        if self.world > 1 and whole.numel():
            self._timed(name, lambda: dist.all_reduce(whole, group=self.group))
            self._count(name, reduced_bytes(whole.nbytes, self.world))
        return whole

    def scan(self, name: str, share: Tensor, first: int, step: int = 1) -> Tensor:
        """Return the sum of the shares of those before this process, or with step -1 of those after it.

        Processes before `first` take no part: they get zeros.
        """
        before = torch.zeros_like(share, memory_format=torch.contiguous_format)
        if self.rank < first or not share.numel():
            return before
        source, target = self.rank - step, self.rank + step
        if first <= source < self.world:
            self._timed(name, lambda: dist.recv(before, group=self.group, group_src=source))
            self._count(name, 0, before.nbytes)
        if first <= target < self.world:
            on = (before + share).contiguous()
            self._timed(name, lambda: dist.send(on, group=self.group, group_dst=target))
            self._count(name, on.nbytes, 0)
        return before

    def _count(self, name: str, sent: int, received: int | None = None) -> None:
        tally = self.traffic.setdefault(name, Traffic())
        tally.calls += 1
        tally.sent += sent
        tally.received += sent if received is None else received

    def _timed(self, name: str, call):
        started = time.perf_counter()
        result = call()
        self.traffic.setdefault(name, Traffic()).seconds += time.perf_counter() - started
        return result


def _differences(words: list[dict]) -> str:
    """Name what is not the same everywhere, with the first process that differs from the first of all."""
    found = []
    for name, value in words[0].items():
        other = next((rank for rank, one in enumerate(words) if one[name] != value), 0)
        if other:
            first, theirs = (
                one if len(one) <= 80 else f"{one[:50]} ... {one[-20:]}" for one in (value, words[other][name])
            )
            theirs = theirs if theirs != first else "another of that kind"  # what differs was cut out
            found.append(
                f"{name} must be the same in every process, got {first} in process 0 and {theirs} in process {other}"
            )
    return "; ".join(found)
