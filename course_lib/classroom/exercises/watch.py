"""What a learner's function does while it runs: for judges that ask how, and not only what."""

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class Watch(TorchDispatchMode):
    """Watches a computation: its products of matrices, their multiplications, and the largest tensor it made."""

    PRODUCTS = ("mm", "addmm", "bmm", "mv", "addmv", "baddbmm", "dot")

    def __init__(self):
        super().__init__()
        self.products = self.work = self.added_in_place = 0
        self.largest = torch.Size()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result, name = function(*args, **(kwargs or {})), function.overloadpacket.__name__
        if isinstance(result, Tensor):
            if result.numel() > self.largest.numel():
                self.largest = result.shape
            if name in self.PRODUCTS:
                last = [one for one in args if isinstance(one, Tensor)][-1]
                self.products += 1
                self.work += result.numel() * last.shape[-2 if last.dim() > 1 else -1]
            if name == "mul":
                self.work += result.numel()
            self.added_in_place += name == "add_"
        return result
