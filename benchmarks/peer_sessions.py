"""Other people's engines behind this package's session, so that one benchmark measures all alike.

A peer is a folder with a ``peer.json``: which runtime (``openvino``, ``onnxruntime``, ``torch`` or ``torch.compile``),
the file it loads, and what it takes. All take raw uint8 frames and give logits and probabilities, as our engines do.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from resnest_edge import environment
from resnest_edge.backends.base import Outputs, Session, SessionOptions
from resnest_edge.backends.onnxruntime import ONNXRuntimeBackend
from resnest_edge.backends.openvino import OpenVINOSession, read_and_compile
from resnest_edge.bundle import is_bundle
from resnest_edge.pipeline.progress import silent
from resnest_edge.pipeline.runtimes import open_session
from resnest_edge.spec import GraphInfo, Preprocessing

OPENER = "benchmarks.peer_sessions:open_any"
PEER = "peer.json"


def write_peer(folder: Path, kind: str, file: str, info: GraphInfo, **more: Any) -> Path:
    """Describe a peer whose model file stands in ``folder`` already.

    Args:
        folder: of the peer.
        kind: runtime, see the module.
        file: name of the model file; empty for PyTorch.
        info: what it takes; ``info.float_type`` decides OpenVINO's precision hint.
        more: for PyTorch: ``what``, ``weights`` and ``num_classes`` as for `build`, and ``preprocessing``.
    """
    value = {"kind": kind, "file": file, "info": info.to_json(), **more}
    (folder / PEER).write_text(json.dumps(value), encoding="utf-8")
    return folder


def open_any(path: Path, options: SessionOptions) -> Session:
    """Load a bundle or a peer."""
    if is_bundle(path):
        return open_session(path, options)
    peer = json.loads((path / PEER).read_text(encoding="utf-8"))
    info = GraphInfo.from_json(peer["info"])
    if peer["kind"] == "openvino":
        return OpenVINOSession(read_and_compile(path / peer["file"], info, options), info, options)
    if peer["kind"] == "onnxruntime":
        return ONNXRuntimeBackend().load(path / peer["file"], info, options)
    return TorchSession(peer, info, options)


class TorchSession(Session):
    """PyTorch in evaluation mode, as trained: as many worker threads as streams, sharing the intra-op threads."""

    def __init__(self, peer: Mapping[str, Any], info: GraphInfo, options: SessionOptions) -> None:
        import torch

        from resnest_edge.pipeline.networks import open_network

        super().__init__(info, options)
        self._threads = max(1, (options.threads or environment.usable_cores()) // options.streams)
        torch.set_num_threads(self._threads)
        self._compiled = peer["kind"] == "torch.compile"
        network = open_network(peer["what"], peer["weights"], peer["num_classes"], silent).load().eval()
        self._network = torch.compile(network) if self._compiled else network
        preprocessing = Preprocessing.from_json(peer["preprocessing"])
        self._mean = 255.0 * torch.tensor(preprocessing.mean).view(1, 3, 1, 1)
        self._std = 255.0 * torch.tensor(preprocessing.std).view(1, 3, 1, 1)
        self._workers = ThreadPoolExecutor(options.streams, thread_name_prefix="torch")

    def submit(self, images: npt.NDArray[Any]) -> Future[Outputs]:
        return self._workers.submit(self._infer, images)

    def _infer(self, images: npt.NDArray[Any]) -> Outputs:
        import torch

        with torch.inference_mode():
            planar = torch.from_numpy(np.ascontiguousarray(images)).permute(0, 3, 1, 2).float()
            logits = self._network((planar - self._mean) / self._std)
            return Outputs(logits.numpy(), torch.softmax(logits, 1).numpy())

    def timings(self) -> dict[str, float]:
        return {}

    def effective_settings(self) -> dict[str, Any]:
        import torch

        runtime = f"PyTorch {torch.__version__}" + (" torch.compile" if self._compiled else "")
        return {"runtime": runtime, "threads": self._threads, "streams": self.options.streams}

    def close(self) -> None:
        self._workers.shutdown(wait=True)
