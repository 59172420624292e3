"""Where the tensors live: on the CPU, or on a CUDA card, as COURSE_DEVICE says.

COURSE_DEVICE is "cpu" or "cuda". Unset or empty, it is a card if torch sees one, else the CPU.
"""

import os
import platform

import torch


def get_device() -> torch.device:
    """Return the device that COURSE_DEVICE asks for.

    Raises RuntimeError if it asks for a card and torch sees none, ValueError if it says anything but cpu or cuda.
    """
    asked = os.environ.get("COURSE_DEVICE", "")
    if asked not in ("", "cpu", "cuda"):
        raise ValueError(f"COURSE_DEVICE must be cpu or cuda, got {asked!r}; CUDA_VISIBLE_DEVICES chooses a card")
    if asked == "cuda" and not torch.cuda.is_available():
        why = "this torch was built without CUDA" if torch.version.cuda is None else "torch sees no card"
        raise RuntimeError(
            f"COURSE_DEVICE is cuda, but {why}. Install a CUDA build of torch, or set COURSE_DEVICE=cpu."
        )
    return torch.device(asked or ("cuda" if torch.cuda.is_available() else "cpu"))


def describe() -> str:
    """Return one line that names the device, and what computes on it."""
    device = get_device()
    name = f"cuda ({torch.cuda.get_device_name(device)})" if device.type == "cuda" else "cpu"
    threads = torch.get_num_threads()
    return (
        f"Device: {name}, {threads} CPU thread{'' if threads == 1 else 's'}, "
        f"torch {torch.__version__}, Python {platform.python_version()}."
    )
