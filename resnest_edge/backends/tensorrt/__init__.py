"""TensorRT 10 and 11, and TensorRT for RTX: one adapter, since they are one API under two module names."""

from resnest_edge.backends.tensorrt.backend import TensorRTBackend

__all__ = ["TensorRTBackend"]
