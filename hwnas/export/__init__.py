"""Networks to files: ONNX and TFLite, checked against torch, converted once through one cache."""
