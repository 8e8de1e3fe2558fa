"""A runtime: ONNX Runtime as apps set it that save battery: no spinning threads, no arena.

    hwnas profile --device host --runtime onnxruntime-lean --plugin runtime.py ...

This file runs in two places: in hwnas, which calls ``register``, and on the device, sent next to
the agent, where hwnas need not be installed. So it imports hwnas in ``register`` only.
"""

from typing import Any

import onnxruntime


class Model:
    """A model with example inputs; the agent calls the methods."""

    def __init__(self, path: str, threads: int) -> None:
        from hwnas_agent import example_input, onnx_dtype  # type: ignore[import-not-found]

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.enable_cpu_mem_arena = options.enable_mem_pattern = False
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options)
        self.values: dict[str, Any] = {
            info.name: example_input(info.shape, onnx_dtype(info.type), place)
            for place, info in enumerate(self.session.get_inputs())
        }

    def set_input(self, value: Any) -> None:
        """Place the image of all later runs."""
        self.values = dict.fromkeys(self.values, value)

    def touch(self) -> None:
        """Read the inputs into the caches, where an operation before would have left them."""
        for value in self.values.values():
            value.max()

    def run(self) -> None:
        """Execute once."""
        self.outputs = self.session.run(None, self.values)

    def result(self) -> Any:
        """Return the first output of the last run."""
        return self.outputs[0]


def version() -> str:
    """Return what tables record of the runtime."""
    return f"onnxruntime {onnxruntime.__version__}, lean"


def register() -> None:
    """Add the runtime to hwnas."""
    from hwnas.plugins import register_runtime

    text = "ONNX Runtime without spinning threads and memory arena"
    register_runtime("onnxruntime-lean", text, format="onnx", agent=__file__)
