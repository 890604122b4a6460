"""The command lines: the flags of `vae-serve`, and `vae-store` with object storage as a source."""
