"""The operations of a model, one module each, and what they share.

An operation is a function of an `EncoderDecoder` and arrays: `await encode(model.queued, x, call=call)`. It
knows nothing of queues, threads or HTTP.

To add an operation: one module here, whose function takes an `EncoderDecoder` first and `call` last, and its
name in `service.engine`.
"""
