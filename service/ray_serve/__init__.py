"""Ray Serve: the server's application in replicas of a Ray cluster.

Knows Ray Serve and the application. Nothing else knows Ray, which this package does not bring along:
docs/how-to/ray.md says how to install and deploy it.
"""

from service.ray_serve.application import build

__all__ = ["build"]
