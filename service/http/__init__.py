"""HTTP, whatever the API: what holds for every path. Knows nothing of models, arrays or routes."""
