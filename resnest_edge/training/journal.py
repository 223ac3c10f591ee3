"""An interrupted fine-tuning goes on after its last whole epoch: the weights and Adam's state, in one file."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from resnest_edge.errors import InputError
from resnest_edge.files import write_atomically

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


class Journal:
    """The state of a run beside its output, replaced whole after each epoch.

    Args:
        path: the file.
        identity: what the state belongs to; another's is refused.
    """

    def __init__(self, path: Path, identity: dict[str, object]) -> None:
        self.path = path
        self._identity = json.dumps(identity, sort_keys=True)

    def save(self, student: nn.Module, optimizer: torch.optim.Adam, losses: list[float]) -> None:
        """Keep the weights, the optimizer's moments, and the loss of each epoch done.

        Raises:
            OutputError: the file cannot be written.
        """
        tensors: dict[str, Tensor] = {}
        for name, parameter in student.named_parameters():
            tensors[f"weight:{name}"] = parameter.detach().contiguous()
            for moment in _MOMENTS:
                tensors[f"{moment}:{name}"] = optimizer.state[parameter][moment].contiguous()
        metadata = {"identity": self._identity, "losses": json.dumps(losses)}
        write_atomically(self.path, save(tensors, metadata))

    def load(self, student: nn.Module, optimizer: torch.optim.Adam) -> list[float]:
        """Give the network and the optimizer what an interrupted run had.

        Returns:
            The loss of each epoch that it finished; empty where there is no file.

        Raises:
            InputError: the file is something else, or belongs to another run.
        """
        if not self.path.exists():
            return []
        try:
            with safe_open(self.path, framework="pt") as stored:
                metadata = stored.metadata() or {}
                tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 - no mapping
            if metadata.get("identity") != self._identity:
                raise InputError(
                    "this is an interrupted run with another network, other images or another recipe",
                    where=self.path,
                    hint="Repeat that run to finish it, or use --force to begin anew.",
                )
            losses = [float(loss) for loss in json.loads(metadata["losses"])]
            _restore(student, optimizer, tensors)
        except (SafetensorError, OSError, KeyError, ValueError, TypeError, RuntimeError) as exc:
            raise InputError(
                "this is not the state of a fine-tuning run", where=self.path, hint="Use --force to begin anew."
            ) from exc
        return losses

    def remove(self) -> None:
        """Forget the run: it is finished, or is to begin anew."""
        self.path.unlink(missing_ok=True)


def _restore(student: nn.Module, optimizer: torch.optim.Adam, tensors: dict[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            parameter.copy_(tensors[f"weight:{name}"])
            optimizer.state[parameter] = {moment: tensors[f"{moment}:{name}"].clone() for moment in _MOMENTS}
