"""The Open Inference Protocol over gRPC: the same models, limits, keys and figures as over HTTP."""
