"""HTTP, whatever the API: how its headers are read. Knows nothing of models, arrays or routes."""
