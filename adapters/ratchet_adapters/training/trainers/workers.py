"""The worker processes that share one training: how many there are, which one this is, what they agree on.

One process that trains alone is the only worker. It must not know who started the workers, nor what is trained.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from ratchet_adapters.training.errors import WorkersDisagree

__all__ = [
    "average_gradients",
    "averaging",
    "check_equal",
    "first_goes_first",
    "is_first",
    "mean",
    "said_by_first",
    "wait_for_all",
    "workers",
]

_Value = TypeVar("_Value")


def workers() -> int:
    """How many processes share this training."""
    import torch.distributed as distributed

    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def is_first() -> bool:
    """Whether this process is the one that saves and reports."""
    import torch.distributed as distributed

    return workers() == 1 or distributed.get_rank() == 0


def wait_for_all() -> None:
    """Return when every worker has come here."""
    import torch.distributed as distributed

    if workers() > 1:
        distributed.barrier()


@contextmanager
def first_goes_first() -> Iterator[None]:
    """The first worker runs the block, then all others do: what it leaves on disk, they find."""
    if not is_first():
        wait_for_all()
    yield
    if is_first():
        wait_for_all()


def said_by_first(value: _Value) -> _Value:
    """The first worker's value, at all of them: what differs in the last bit must not part their ways."""
    import torch.distributed as distributed

    if workers() == 1:
        return value
    box = [value]
    distributed.broadcast_object_list(box, src=0)
    return box[0]


def mean(value: float) -> float:
    """The mean of the workers' values."""
    import torch.distributed as distributed

    if workers() == 1:
        return value
    values: list[Any] = [None] * workers()
    distributed.all_gather_object(values, value)
    return float(sum(values) / len(values))


def average_gradients(parameters: Iterable[Any]) -> None:
    """Replace each gradient by the mean of the workers' gradients; a missing one counts as zero.

    The gradients of an adapter are small, so they travel as one tensor.
    """
    import torch
    import torch.distributed as distributed

    if workers() == 1:
        return
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in trained:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([parameter.grad.flatten() for parameter in trained])
    distributed.all_reduce(flat)
    flat /= workers()
    start = 0
    for parameter in trained:
        part = flat[start : start + parameter.numel()]
        parameter.grad.copy_(part.view_as(parameter))
        start += parameter.numel()


def averaging(trainer: Any) -> Callable[..., Any]:
    """Return the trainer's `training_step`, with gradients averaged at the end of every optimiser step.

    PyTorch's own wrapper averages only what went through its `forward`, and most trainers here call the model inside.
    Averaging twice changes nothing.
    """
    step = trainer.training_step

    def averaged(*args: Any, **kwargs: Any) -> Any:
        loss = step(*args, **kwargs)
        if trainer.accelerator.gradient_state.sync_gradients:
            average_gradients(trainer.model.parameters())
        return loss

    return averaged


def check_equal(model: Any) -> None:
    """Check that all workers hold the same trained weights.

    Raises:
        WorkersDisagree: They do not, so that what was trained is no longer one model.
    """
    import torch.distributed as distributed

    if workers() == 1:
        return
    sums = [float(parameter.detach().double().sum()) for parameter in model.parameters() if parameter.requires_grad]
    found: list[Any] = [None] * workers()
    distributed.all_gather_object(found, sums)
    if any(other != found[0] for other in found):
        raise WorkersDisagree(workers())
