"""The server: onnxruntime behind an HTTP API. It never trains and never imports torch."""
