"""Figures as PNG files: grids of images, curves and charts."""
