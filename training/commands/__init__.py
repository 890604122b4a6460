"""The commands of `vae-train`: one module each, imported on demand, and their flags."""
