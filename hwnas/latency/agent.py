"""The program that runs on a target and times models there: one file, numpy and a runtime only.

It is copied to boards and phones as it is, so it imports nothing of hwnas and runs on Python 3.9.
It speaks JSON lines: one request a line on standard input, one answer a line on standard output
(whatever libraries print goes to standard error). Requests:

    {"cmd": "hello", "runtime": "litert"|"onnxruntime", "threads": 1, "affinity": [4, 5] or null}
    {"cmd": "load", "id": "...", "path": "..."}
    {"cmd": "time", "id": "...", "min_runs": 3, "min_ms": 4.0, "warmup_runs": 1}
    {"cmd": "infer", "id": "...", "input": "in.npy", "output": "out.npy"}
    {"cmd": "unload", "id": "..."}   {"cmd": "state"}   {"cmd": "quit"}

Answers carry "ok"; where it is false, "error" says why. Times are nanoseconds, one per run.
"""

import gc
import glob
import json
import os
import platform
import sys
import time

import numpy as np

PROTOCOL = 1


class LitertModel:
    """A TFLite model in LiteRT's interpreter (XNNPACK), or in the older tflite-runtime."""

    def __init__(self, path, threads):
        interpreter_class, _ = litert()
        self.interpreter = interpreter_class(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        details = self.interpreter.get_input_details()
        if len(details) != 1:
            raise ValueError("the model has %d inputs; one image is expected" % len(details))
        self.input = details[0]
        self.output = self.interpreter.get_output_details()[0]
        self.set_input(example_input(self.input["shape"], self.input["dtype"]))

    def set_input(self, value):
        """Place the input of all later runs."""
        self.interpreter.set_tensor(self.input["index"], value)

    def run(self):
        """Execute once."""
        self.interpreter.invoke()

    def result(self):
        """Return the first output of the last run."""
        return self.interpreter.get_tensor(self.output["index"])


class OnnxModel:
    """An ONNX model in ONNX Runtime's CPU provider, its input and output bound once."""

    def __init__(self, path, threads):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            path, options, providers=["CPUExecutionProvider"]
        )
        details = self.session.get_inputs()
        if len(details) != 1:
            raise ValueError("the model has %d inputs; one image is expected" % len(details))
        self.input = details[0]
        self.binding = self.session.io_binding()
        self.set_input(example_input(self.input.shape, np.float32))
        self.binding.bind_output(self.session.get_outputs()[0].name)

    def set_input(self, value):
        """Place the input of all later runs."""
        self.value = value
        self.binding.bind_cpu_input(self.input.name, value)

    def run(self):
        """Execute once."""
        self.session.run_with_iobinding(self.binding)

    def result(self):
        """Return the first output of the last run."""
        return self.binding.copy_outputs_to_cpu()[0]


def litert():
    """Return the interpreter class of whichever LiteRT is installed, and its version."""
    try:
        import ai_edge_litert
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter, "ai-edge-litert " + package_version("ai-edge-litert", ai_edge_litert)
    except ImportError:
        import tflite_runtime
        from tflite_runtime.interpreter import Interpreter

        return Interpreter, "tflite-runtime " + package_version("tflite-runtime", tflite_runtime)


def package_version(name, module):
    """Return the installed version of a package, as its metadata or the module says."""
    try:
        from importlib.metadata import version

        return version(name)
    except ImportError:
        return str(getattr(module, "__version__", "unknown"))


def runtime_version(runtime):
    """Return the name and version of the runtime that will execute models."""
    if runtime == "litert":
        return litert()[1]
    import onnxruntime

    return "onnxruntime " + str(onnxruntime.__version__)


def example_input(shape, dtype):
    """Return a fixed input of this shape; normal values, as after a network's normalisation."""
    if not all(isinstance(int(size), int) and int(size) > 0 for size in shape):
        raise ValueError("the model's input shape %s is not fixed" % (list(shape),))
    values = np.random.default_rng(0).standard_normal([int(size) for size in shape])
    if np.issubdtype(dtype, np.integer):
        values = np.clip(np.rint(values * 40), -128, 127)
    return np.ascontiguousarray(values.astype(dtype))


def time_runs(model, min_runs, min_ms, warmup_runs):
    """Run ``model`` until both minima are met; return nanoseconds per run."""
    for _ in range(warmup_runs):
        model.run()
    clock, times = time.perf_counter_ns, []
    enough_ns = int(min_ms * 1e6)
    gc.disable()
    try:
        begin = clock()
        while True:
            start = clock()
            model.run()
            end = clock()
            times.append(end - start)
            if len(times) >= min_runs and end - begin >= enough_ns:
                return times
    finally:
        gc.enable()


def read_first(path):
    """Return the text of a small system file, None where it cannot be read."""
    try:
        with open(path) as stream:
            return stream.read().strip()
    except (OSError, UnicodeDecodeError):
        return None


def state():
    """Return what the kernel says of frequencies, governors, temperatures and load now."""
    cpus = {}
    for folder in sorted(glob.glob("/sys/devices/system/cpu/cpu[0-9]*/cpufreq")):
        name = folder.split("/")[-2]
        cpus[name] = {
            "mhz": scaled(read_first(folder + "/scaling_cur_freq"), 1e-3),
            "max_mhz": scaled(read_first(folder + "/cpuinfo_max_freq"), 1e-3),
            "governor": read_first(folder + "/scaling_governor"),
        }
    zones = {}
    for folder in sorted(glob.glob("/sys/class/thermal/thermal_zone*")):
        kind = read_first(folder + "/type") or folder.rsplit("/", 1)[-1]
        zones[kind] = scaled(read_first(folder + "/temp"), 1e-3)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpus": cpus, "celsius": zones, "load_1min": load, "time": time.time()}


def scaled(text, factor):
    """Return a number read from a system file times ``factor``, None where there is none."""
    try:
        return round(int(text) * factor, 3)
    except (TypeError, ValueError):
        return None


def hello(request):
    """Pin the process and name the runtime."""
    if request.get("affinity"):
        os.sched_setaffinity(0, request["affinity"])
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


def cpu_name():
    """Return the processor's name as the kernel or the device tree gives it."""
    model = read_first("/proc/device-tree/model")
    for line in (read_first("/proc/cpuinfo") or "").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Hardware"):
            return value.strip()
    return (model or platform.processor() or platform.machine()).strip("\x00 ")


def serve(requests, answer):
    """Answer requests until "quit" or the end of input."""
    models, settings = {}, {}
    for line in requests:
        try:
            request = json.loads(line)
            command = request["cmd"]
            if command == "quit":
                return
            answer(dict(respond(command, request, models, settings), ok=True))
        except Exception as error:  # noqa: BLE001 - every failure goes back over the wire
            answer({"ok": False, "error": "%s: %s" % (type(error).__name__, error)})


def respond(command, request, models, settings):
    """Carry out one request; return what the answer holds beside "ok"."""
    if command == "hello":
        settings.update(runtime=request["runtime"], threads=request["threads"])
        return hello(request)
    if command == "state":
        return {"state": state()}
    if command == "load":
        kinds = {"litert": LitertModel, "onnxruntime": OnnxModel}
        models[request["id"]] = kinds[settings["runtime"]](request["path"], settings["threads"])
        return {}
    if command == "unload":
        models.pop(request["id"], None)
        return {}
    model = models[request["id"]]
    if command == "time":
        times = time_runs(model, request["min_runs"], request["min_ms"], request["warmup_runs"])
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
    raise ValueError("unknown command %r" % command)


def main():
    """Keep the real standard output for answers; send everything else there to standard error."""
    wire = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(value):
        wire.write(json.dumps(value) + "\n")
        wire.flush()

    serve(sys.stdin, answer)


if __name__ == "__main__":
    main()
