"""The processor: processes that train together, their threads and their memory. Knows nothing of models."""
