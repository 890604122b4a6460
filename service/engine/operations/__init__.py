"""What a model computes: operations on images and latents, their noise, priors and densities."""
