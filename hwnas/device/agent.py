"""The program that runs on a target and times models there: one file, numpy and a runtime only.

It is copied to boards and phones as it is, so it imports nothing of hwnas and runs on Python 3.9.
It speaks JSON lines: one request a line on standard input, one answer a line on standard output
(whatever libraries print goes to standard error). Requests:

    {"cmd": "hello", "runtime": "litert"|"onnxruntime"|..., "threads": 1,
     "affinity": [4, 5] or null, "module": "runtime.py" or null}
    {"cmd": "load", "id": "...", "path": "..."}
    {"cmd": "time", "id": "...", "min_runs": 3, "min_ms": 4.0, "warmup_runs": 1, "flush_mb": 16}
    {"cmd": "infer", "id": "...", "input": "in.npy", "output": "out.npy"}
    {"cmd": "unload", "id": "..."}   {"cmd": "state"}   {"cmd": "quit"}

Answers carry "ok"; where it is false, "error" says why. Times are nanoseconds, one per run.

A runtime that is not built in comes in a file of its own, "module": it defines ``Model`` and
``version``, and may import what is defined here from ``hwnas_agent``.
"""

from __future__ import annotations

import gc
import glob
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

import numpy as np

PROTOCOL = 1
MAX_FLUSH_MB = 1024


class Model(Protocol):
    """A loaded model; its inputs hold example values, the one of an image can be replaced."""

    def set_input(self, value: np.ndarray[Any, Any]) -> None:
        """Place the input of all later runs; ValueError if the model takes several."""

    def touch(self) -> None:
        """Bring the inputs into the caches."""

    def run(self) -> None:
        """Execute once."""

    def result(self) -> np.ndarray[Any, Any]:
        """Return the first output of the last run."""


class LitertModel:
    """A TFLite model in LiteRT's interpreter (XNNPACK), or in the older tflite-runtime."""

    def __init__(self, path: str, threads: int) -> None:
        interpreter_class, _ = litert()
        self.interpreter = interpreter_class(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.inputs = self.interpreter.get_input_details()
        self.output = self.interpreter.get_output_details()[0]
        self.values = {
            detail["index"]: example_input(detail["shape"], detail["dtype"], place)
            for place, detail in enumerate(self.inputs)
        }
        self.touch()

    def set_input(self, value: np.ndarray[Any, Any]) -> None:
        """Place the input of all later runs; ValueError if the model takes several."""
        require_one(self.inputs)
        self.values = {self.inputs[0]["index"]: value}
        self.touch()

    def touch(self) -> None:
        """Write the inputs again, as an operation before this one would have."""
        for index, value in self.values.items():
            self.interpreter.set_tensor(index, value)

    def run(self) -> None:
        """Execute once."""
        self.interpreter.invoke()

    def result(self) -> np.ndarray[Any, Any]:
        """Return the first output of the last run."""
        output: np.ndarray[Any, Any] = self.interpreter.get_tensor(self.output["index"])
        return output


class OnnxModel:
    """An ONNX model in ONNX Runtime's CPU provider, its inputs and output bound once."""

    def __init__(self, path: str, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        self.inputs = self.session.get_inputs()
        self.binding = self.session.io_binding()
        self.values: dict[str, np.ndarray[Any, Any]] = {}  # bound memory has to stay alive
        for place, detail in enumerate(self.inputs):
            self.bind(detail.name, example_input(detail.shape, onnx_dtype(detail.type), place))
        self.binding.bind_output(self.session.get_outputs()[0].name)

    def set_input(self, value: np.ndarray[Any, Any]) -> None:
        """Place the input of all later runs; ValueError if the model takes several."""
        require_one(self.inputs)
        self.bind(self.inputs[0].name, value)

    def bind(self, name: str, value: np.ndarray[Any, Any]) -> None:
        """Bind ``value`` to the input called ``name``."""
        self.values[name] = value
        self.binding.bind_cpu_input(name, value)

    def touch(self) -> None:
        """Read the inputs, which lie where an operation before this one would have left them."""
        for value in self.values.values():
            value.max()

    def run(self) -> None:
        """Execute once."""
        self.session.run_with_iobinding(self.binding)

    def result(self) -> np.ndarray[Any, Any]:
        """Return the first output of the last run."""
        output: np.ndarray[Any, Any] = self.binding.copy_outputs_to_cpu()[0]
        return output


MODELS: dict[str, Callable[[str, int], Model]] = {"litert": LitertModel, "onnxruntime": OnnxModel}
VERSIONS: dict[str, Callable[[], str]] = {}  # of runtimes that come in a file of their own


def add_runtime(name: str, path: str) -> None:
    """Add the runtime that the file at ``path`` defines by ``Model`` and ``version``."""
    import importlib.util

    sys.modules["hwnas_agent"] = sys.modules[__name__]
    spec = importlib.util.spec_from_file_location("hwnas_runtime", path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules["hwnas_runtime"] = module
    spec.loader.exec_module(module)
    for wanted in ("Model", "version"):
        if not hasattr(module, wanted):
            raise ValueError(f"{path} defines no {wanted}, which a runtime's file must")
    MODELS[name], VERSIONS[name] = module.Model, module.version


def litert() -> tuple[Any, str]:
    """Return the interpreter class of whichever LiteRT is installed, and its version."""
    try:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter, "ai-edge-litert " + package_version("ai-edge-litert", ai_edge_litert)
    except ImportError:
        try:
            import tflite_runtime
            from tflite_runtime.interpreter import Interpreter
        except ImportError:
            raise absent("LiteRT (ai-edge-litert or tflite-runtime)", "ai-edge-litert") from None

        return Interpreter, "tflite-runtime " + package_version("tflite-runtime", tflite_runtime)


def absent(runtime: str, package: str) -> ImportError:
    """Return the error for a runtime that this Python does not have."""
    return ImportError(
        f"{runtime} is not installed for {sys.executable} on the device. "
        f"Next: there, {sys.executable} -m pip install {package}"
    )


def package_version(name: str, module: Any) -> str:
    """Return the installed version of a package, as its metadata or the module says."""
    try:
        from importlib.metadata import version

        return version(name)
    except ImportError:
        return str(getattr(module, "__version__", "unknown"))


def runtime_version(runtime: str) -> str:
    """Return the name and version of the runtime that will execute models."""
    if runtime in VERSIONS:
        return VERSIONS[runtime]()
    if runtime == "litert":
        return litert()[1]
    try:
        import onnxruntime
    except ImportError:
        raise absent("ONNX Runtime", "onnxruntime") from None

    return "onnxruntime " + str(onnxruntime.__version__)


def require_one(inputs: Sequence[Any]) -> None:
    """Raise ValueError unless a model has one input."""
    if len(inputs) != 1:
        raise ValueError(f"the model has {len(inputs)} inputs; one image is expected")


def example_input(shape: Iterable[Any], dtype: Any, place: int = 0) -> np.ndarray[Any, Any]:
    """Return a fixed input of this shape; normal values, as after a network's normalisation.

    ``place`` is the input's among the model's: each has values of its own. Integers spread over
    all values of an 8-bit type, around its middle.
    """
    values = np.random.default_rng(place).standard_normal(fixed_shape(list(shape)))
    if np.issubdtype(dtype, np.integer):
        limits = np.iinfo(dtype)
        middle = (int(limits.min) + int(limits.max) + 1) // 2
        values = np.clip(np.rint(values * 40) + middle, limits.min, limits.max)
    return np.ascontiguousarray(values.astype(dtype))


def fixed_shape(shape: list[Any]) -> list[int]:
    """Return a model's input shape with a batch of one where the batch is free.

    ONNX Runtime gives a free axis as a name or None, LiteRT as -1.
    """
    sizes = [
        int(size) if isinstance(size, (int, np.integer)) and size > 0 else None for size in shape
    ]
    if sizes and sizes[0] is None:
        sizes[0] = 1
    free = [str(shape[place]) for place, size in enumerate(sizes) if size is None]
    if free:
        raise ValueError(
            f"the model's input shape {list(shape)} is not fixed in {', '.join(free)}. "
            "Next: export it with fixed sizes; only the batch may be free, and is taken as 1"
        )
    return [size for size in sizes if size is not None]


def onnx_dtype(name: str) -> Any:
    """Return the numpy type of an ONNX Runtime input; ValueError if models of ours have none."""
    known = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
    if name not in known:
        raise ValueError(f"the model takes {name}; allowed: {', '.join(known)}")
    return known[name]


def time_runs(
    model: Model,
    min_runs: int,
    min_ms: float,
    warmup_runs: int,
    flush: np.ndarray[Any, Any] | None = None,
) -> list[int]:
    """Run ``model`` until both minima are met; return nanoseconds per run.

    Between two runs ``flush`` is read, so that weights have left the caches as they have in a
    network, and then the inputs, which an operation before would just have written.
    """
    for _ in range(warmup_runs):
        model.run()
    clock = time.perf_counter_ns
    times: list[int] = []
    enough_ns = int(min_ms * 1e6)
    gc.disable()
    try:
        begin = clock()
        while True:
            if flush is not None:
                flush.max()
                model.touch()
            start = clock()
            model.run()
            end = clock()
            times.append(end - start)
            if len(times) >= min_runs and end - begin >= enough_ns:
                return times
    finally:
        gc.enable()


def flush_of(megabytes: float, settings: dict[str, Any]) -> np.ndarray[Any, Any] | None:
    """Return so much memory to read between runs, kept in ``settings``; None for 0."""
    if not 0 <= megabytes <= MAX_FLUSH_MB:
        raise ValueError(f"flush_mb {megabytes} is not between 0 and {MAX_FLUSH_MB}")
    size = int(megabytes * 2**20) // 4
    if not size:
        return None
    if len(settings.get("flush", ())) != size:
        settings["flush"] = np.ones(size, dtype=np.float32)
    kept: np.ndarray[Any, Any] = settings["flush"]
    return kept


def read_text(path: str) -> str | None:
    """Return the text of a small system file, None where it cannot be read."""
    try:
        with open(path) as stream:
            return stream.read().strip()
    except (OSError, UnicodeDecodeError):
        return None


def state() -> dict[str, Any]:
    """Return what the kernel says of frequencies, governors, temperatures and load now."""
    cpus = {}
    for folder in sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq")):
        name = folder.split("/")[-2]
        cpus[name] = {
            "mhz": scaled(read_text(folder + "/scaling_cur_freq"), 1e-3),
            "max_mhz": scaled(read_text(folder + "/cpuinfo_max_freq"), 1e-3),
            "governor": read_text(folder + "/scaling_governor"),
        }
    zones = {}
    for folder in sorted(glob.glob("/sys/class/thermal/thermal_zone*")):
        kind = read_text(folder + "/type") or folder.rsplit("/", 1)[-1]
        zones[kind] = scaled(read_text(folder + "/temp"), 1e-3)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpus": cpus, "celsius": zones, "load_1min": load, "time": time.time()}


def scaled(text: str | None, factor: float) -> float | None:
    """Return a number read from a system file times ``factor``, None where there is none."""
    try:
        return round(int(text) * factor, 3) if text is not None else None
    except ValueError:
        return None


def hello(request: dict[str, Any]) -> dict[str, Any]:
    """Pin the process and name the runtime."""
    if request.get("module"):
        add_runtime(request["runtime"], request["module"])
    if request["runtime"] not in MODELS:
        raise ValueError(f"unknown runtime {request['runtime']!r}; known: {', '.join(MODELS)}")
    if request.get("affinity"):
        pin(request["affinity"])
    cpus = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    return {
        "protocol": PROTOCOL,
        "runtime_version": runtime_version(request["runtime"]),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cpus": cpus,
    }


def pin(cpus: Sequence[int]) -> None:
    """Bind the process to these CPUs; ValueError names those that it cannot have."""
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cpus)
    except OSError:
        absent = set(cpus) - allowed
    else:  # the kernel leaves out what is not there, if anything is
        absent = set(cpus) - os.sched_getaffinity(0)
    if absent:
        raise ValueError(
            "CPU " + ", ".join(map(str, sorted(absent))) + " is not there or may not "
            "be used; this process may use "
            + ", ".join(map(str, sorted(allowed)))
            + ". Next: another affinity"
        )


def cpu_name() -> str:
    """Return the processor's name as the kernel or the device tree gives it."""
    model = read_text("/proc/device-tree/model")
    for line in (read_text("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware"):
            return value.strip()
    return (model or platform.processor() or platform.machine()).strip("\x00 ")


def serve(requests: Iterable[str], answer: Callable[[dict[str, Any]], None]) -> None:
    """Answer requests until "quit" or the end of input."""
    models: dict[str, Model] = {}
    settings: dict[str, Any] = {}
    for line in requests:
        try:
            request = json.loads(line)
            command = request["cmd"]
            if command == "quit":
                return
            answer(dict(respond(command, request, models, settings), ok=True))
        except Exception as error:  # noqa: BLE001 - every failure goes back over the wire
            answer({"ok": False, "error": f"{type(error).__name__}: {error}"})


def respond(
    command: str, request: dict[str, Any], models: dict[str, Model], settings: dict[str, Any]
) -> dict[str, Any]:
    """Carry out one request; return what the answer holds beside "ok"."""
    if command == "hello":
        settings.update(runtime=request["runtime"], threads=request["threads"])
        return hello(request)
    if command == "state":
        return {"state": state()}
    if command == "load":
        make = MODELS[settings["runtime"]]
        models[request["id"]] = make(request["path"], settings["threads"])
        return {}
    if command == "unload":
        models.pop(request["id"], None)
        return {}
    model = models[request["id"]]
    if command == "time":
        times = time_runs(
            model,
            request["min_runs"],
            request["min_ms"],
            request["warmup_runs"],
            flush_of(request.get("flush_mb", 0.0), settings),
        )
        return {"ns": times}
    if command == "infer":
        images = np.load(request["input"], allow_pickle=False)
        outputs = []
        for image in images:
            model.set_input(np.ascontiguousarray(image[None]))
            model.run()
            outputs.append(np.array(model.result()[0]))
        np.save(request["output"], np.stack(outputs), allow_pickle=False)
        return {}
    raise ValueError(f"unknown command {command!r}")


def main() -> None:
    """Keep the real standard output for answers; send everything else there to standard error."""
    wire = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value: dict[str, Any]) -> None:
        wire.write(json.dumps(value) + "\n")
        wire.flush()

    serve(sys.stdin, answer)


if __name__ == "__main__":
    main()
