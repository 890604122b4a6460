"""The example of docs/how-to/open-inference.md."""

import numpy as np
import tritonclient.http as triton

client = triton.InferenceServerClient("localhost:8000")
x = triton.InferInput("x", [1, 1, 28, 28], "FP32")
x.set_data_from_numpy(np.zeros((1, 1, 28, 28), np.float32))
result = client.infer("mnist", [x], outputs=[triton.InferRequestedOutput("mu")], priority=1)
print(result.as_numpy("mu"))
