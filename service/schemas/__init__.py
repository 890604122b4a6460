"""Bodies and parameters, one module per protocol. Scalars only: arrays never pass through pydantic."""
