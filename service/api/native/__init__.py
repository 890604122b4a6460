"""The native API: encode, decode, sample, reconstruct, interpolate, traverse, score and the models."""
