"""The API: the requests and responses of each path.

Knows HTTP, codecs and the engine; contains no arithmetic.
"""
