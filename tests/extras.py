"""The libraries that only an extra installs: the core must import and answer ``--help`` without them."""

from __future__ import annotations

WORKSTATION = ("torch", "onnx", "onnxruntime", "openvino")
"""What stands for the extras ``export`` and ``cpu``: with these a checkpoint becomes an engine that runs here."""

EXTRAS = frozenset(
    {
        "av",
        "cryptography",
        "cuda",
        "jsonschema",
        "google",  # protobuf, which onnx brings
        "ml_dtypes",
        "nncf",
        "onnx",
        "onnx_ir",
        "onnxruntime",
        "onnxscript",
        "onnxsim",
        "openvino",
        "prometheus_client",
        "pycuda",
        "ray",
        "resnest",
        "safetensors",
        "scipy",
        "sklearn",
        "tensorrt",
        "tensorrt_rtx",
        "threadpoolctl",
        "torch",
    }
)
