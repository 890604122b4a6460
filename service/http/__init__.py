"""HTTP for every path, independent of the API. Knows nothing of models, arrays or routes."""
