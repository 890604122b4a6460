"""The judge: a small classifier that decides whether generated images are recognisable."""
