"""Models of other libraries: loaded by the library itself, as two modules that can be exported.

library     finds the library at run time; none of them is a dependency
diffusers_vae     AutoencoderKL and AutoencoderTiny
pythae_model      the models of pythae whose latent is the encoder's own output
"""

from training.publishing.foreign.loaded import Loaded

__all__ = ["Loaded"]
