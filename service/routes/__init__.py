"""HTTP in, codec, engine, codec, HTTP out. No arithmetic, no bytes of any format, no onnxruntime."""
