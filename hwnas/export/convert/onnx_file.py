"""Serialised ONNX models: checking them and writing their metadata. No torch here."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx.checker
import onnx.shape_inference

from hwnas.export.formats import ConversionError


def check_onnx(payload: bytes) -> None:
    """Run ONNX's checker with shape inference over a serialised model.

    Raises:
        ConversionError: the model breaks ONNX's rules; names the rule.
    """
    try:
        onnx.checker.check_model(payload, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"the exported file is not valid ONNX: {error}") from error


def with_metadata(payload: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return the serialised ONNX model ``payload``, ``metadata`` added to its metadata_props."""
    model = onnx.load_model_from_string(payload)
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**known, **metadata})
    result: bytes = model.SerializeToString(deterministic=True)
    check_onnx(result)
    return result
