"""Every call of diffusers' remote functions, unchanged, next to the same work by diffusers here.

`python calls.py URL FOLDER` prints one JSON object: the largest difference of each call from the local
result, in grey levels or in units of the tensor. FOLDER is that of `export.py`.
"""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.image_processor import VaeImageProcessor
from diffusers.utils.remote_utils import remote_decode, remote_encode
from PIL import Image

DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def levels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB"), np.float32)


def apart(one: np.ndarray | torch.Tensor, other: np.ndarray | torch.Tensor) -> float:
    """The largest difference."""
    return float(abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).max())


@torch.no_grad()
def main(url: str, folder: Path) -> dict[str, float]:
    warnings.simplefilter("ignore")
    vae = AutoencoderKL.from_pretrained(folder / "torch").eval()
    scaling, shift = vae.config.scaling_factor, vae.config.shift_factor
    processor = VaeImageProcessor(vae_scale_factor=8)
    decode, encode = f"{url}/remote/decode", f"{url}/remote/encode"
    found: dict[str, float] = {}
    generator = torch.Generator().manual_seed(1)
    stored = torch.randn(1, 4, 8, 12, generator=generator) * scaling

    def local(latents: torch.Tensor, *, factor: float = scaling, add: float = 0.0) -> torch.Tensor:
        return vae.decode(latents.float() / factor + add).sample

    for dtype in DTYPES:
        z, of = stored.to(dtype), str(dtype).split(".")[1]
        sample = local(z)
        (picture,) = processor.postprocess(sample, output_type="pil")
        right = levels(picture)
        ask = {"endpoint": decode, "tensor": z, "scaling_factor": scaling}
        found[f"{of} pil png"] = apart(levels(remote_decode(**ask, image_format="png")), right)
        # JPEG loses; its mean is compared.
        found[f"{of} pil jpg"] = float(np.abs(levels(remote_decode(**ask)) - right).mean())
        pt = {**ask, "output_type": "pt"}
        found[f"{of} pt processor"] = apart(levels(remote_decode(**pt, processor=processor)), right)
        pt_pt = remote_decode(**pt, return_type="pt")
        assert pt_pt.dtype == dtype
        found[f"{of} pt pt"] = apart(pt_pt.float(), sample)
        partial = {**pt, "partial_postprocess": True}
        found[f"{of} pt partial"] = apart(levels(remote_decode(**partial)), right)
        found[f"{of} pt partial pt"] = apart(remote_decode(**partial, return_type="pt")[0], right)
        (with_processor,) = remote_decode(**ask, processor=processor)
        found[f"{of} pil processor"] = apart(levels(with_processor), right)
    z = stored
    pt = {"endpoint": decode, "output_type": "pt", "return_type": "pt"}
    found["do_scaling"] = apart(remote_decode(tensor=z, **pt), local(z, add=shift))
    found["no scaling"] = apart(remote_decode(tensor=z, do_scaling=False, **pt), local(z, factor=1.0))
    both = {"scaling_factor": scaling, "shift_factor": shift}
    found["scale and shift"] = apart(remote_decode(tensor=z, **both, **pt), local(z, add=shift))
    packed = z.view(1, 4, 4, 2, 6, 2).permute(0, 2, 4, 1, 3, 5).reshape(1, 24, 16)
    size = {"height": 64, "width": 96, "scaling_factor": scaling}
    found["packed"] = apart(remote_decode(tensor=packed, **size, **pt), local(z))
    batch = torch.randn(3, 4, 8, 8, generator=generator) * scaling
    found["batch"] = apart(remote_decode(tensor=batch, scaling_factor=scaling, **pt), local(batch))
    image = torch.rand(1, 3, 48, 80, generator=generator) * 2 - 1
    mean = vae.encode(image).latent_dist.mean
    found["encode tensor"] = apart(remote_encode(encode, image), mean)
    found["encode scaled"] = apart(remote_encode(encode, image, scaling, shift), (mean - shift) * scaling)
    for mode in ("RGB", "L"):
        drawn = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 48, 3), np.uint8))
        pixels = processor.preprocess(drawn.convert(mode).convert("RGB"))
        right_mean = vae.encode(pixels).latent_dist.mean
        found[f"encode {mode}"] = apart(remote_encode(encode, drawn.convert(mode)), right_mean)
    try:
        remote_decode(endpoint=decode, tensor=torch.zeros(1, 5, 8, 8), scaling_factor=1.0)
    except RuntimeError as error:
        found["refused as JSON"] = float(error.args[0]["status"])
    return found


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]))))
