"""The native API: one endpoint, one module; `table` lists the operations."""
