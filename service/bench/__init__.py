"""Load on a running server, and its measurement: `vae-serve bench`.

Knows HTTP/1.1 as a client and the native API's paths. Knows nothing of the server's implementation: it
measures any instance, on any machine, with the same code. Other Python code uses
`service.bench.load.run_load`.

    requests   what is sent: bodies made from what GET /models/{name} says
    client     one kept connection
    timer      due times finer than the event loop's millisecond
    load       closed and open loop over many connections, every answer recorded
    statistics percentiles
    stability  windows until three agree
    histogram  latencies drawn on a log axis
    report     the result as text and as JSON
    cli        flags to result; `flags` declares them, and imports nothing heavy
"""
