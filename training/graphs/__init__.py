"""ONNX graphs: export, comparison with torch, and published graphs behind the interface of a torch model."""
