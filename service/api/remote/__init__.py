"""The remote VAE of diffusers: `remote_decode` and `remote_encode` as unchanged clients send them.

    query ─▶ parameters        latents ─▶ unpack, divide by the factor, add the shift ─▶ decode ─▶ answer
                               picture or tensor ─▶ encode ─▶ subtract the shift, multiply ─▶ answer

The protocol is not documented by its authors; `docs/reference/remote-vae.md` states what this server does.
"""
