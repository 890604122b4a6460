"""This server beside raw onnxruntime, a bare ASGI app, the service of most tutorials and other model servers.

Knows how to start each, what to ask it, and how to compare. Knows nothing of the service's inside: it is one
of the systems, started as its users start it. `make bench` runs it; the modules:

    pair       the two model pairs, as files, and what a right answer is
    processes  a server as a process: started, ready, its memory and CPU time, ended by process ids
    systems    every system with the variants that it may choose its best of
    wrk        the load (wrk and wrk.lua), one window
    raw        onnxruntime without a server, in a process of its own
    rounds     pilot, interleaved rounds, medians
    table      ratios with their bars, as Markdown, also written into README.md of the benchmarks
    split      intra-op threads against parallel runs
"""
