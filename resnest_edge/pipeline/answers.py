"""What a graph answers on pictures, run as it is written: no engine, no kernels of one machine."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from resnest_edge.backends.onnxruntime import GraphRunner
from resnest_edge.graph.model import LOGITS, to_bytes
from resnest_edge.images import ImageSet, iter_batches, normalise
from resnest_edge.measure.accuracy import Accuracy
from resnest_edge.pipeline.progress import Progress, silent
from resnest_edge.spec import Preprocessing

_IMAGES_PER_RUN = 8


def graph_answers(
    graph: ir.Model | bytes,
    images: ImageSet,
    preprocessing: Preprocessing,
    *,
    batch: int = _IMAGES_PER_RUN,
    progress: Progress = silent,
    stage: str = "measure",
) -> Accuracy:
    """Logits of a core graph, its Q/DQ computed in float32 exactly as written.

    Args:
        graph: takes normalised pictures and gives ``logits``; a model, or one serialised.
        images: pictures, labelled or not.
        preprocessing: how they become the input.
        batch: pictures a run; the graph's own where that is fixed.
        progress: told of each batch.
        stage: the name it is told under.

    Raises:
        ImageError: a picture is damaged.
        GraphError: the graph does not run.
    """
    runner = GraphRunner(graph if isinstance(graph, bytes) else to_bytes(graph), [LOGITS], qdq_as_written=True)
    logits, labels, indices = [], [], []
    for found in iter_batches(images, preprocessing, batch):
        logits.append(runner(normalise(found.images.astype(np.uint8, copy=False), preprocessing))[0])
        labels.append(found.labels)
        indices.append(found.indices)
        progress(stage, sum(map(len, indices)), len(images))
    known = np.concatenate(labels)
    return Accuracy(np.concatenate(logits), known if bool((known >= 0).all()) else None, np.concatenate(indices))
