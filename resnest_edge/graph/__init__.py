"""The ONNX graph: exported, simplified, named, folded, typed. Needs the ``export`` extra."""
