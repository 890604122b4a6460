"""The commands of `vae-train`, one module each, imported when asked for."""
