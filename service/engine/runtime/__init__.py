"""How graphs run: sessions, batches, the worker pool, the CPU quota. Knows arrays; knows no operation."""
