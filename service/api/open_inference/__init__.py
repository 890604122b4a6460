"""The Open Inference Protocol, version 2: the operations of the server for clients of Triton and KServe.

core           all of the protocol on arrays; REST and gRPC call it
  names        which models a name means, and their tensors
  inference    tensors in, an operation of the engine, tensors out
  metadata  statistics  repository
rest           the same over HTTP
"""
