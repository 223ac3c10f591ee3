"""The libraries that only an extra installs: the core must import and answer ``--help`` without them."""

from __future__ import annotations

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
        "torch",
    }
)
