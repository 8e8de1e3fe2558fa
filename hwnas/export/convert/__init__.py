"""Networks to ONNX and TFLite files, through one content-addressed cache."""
