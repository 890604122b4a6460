"""The process around the application: its first moments, its workers, its threads, its sockets.

Knows signals, processes, threads, sockets and directories. Knows nothing of HTTP, models or codecs.
"""
