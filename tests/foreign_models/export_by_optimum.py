"""A small Stable Diffusion pipeline with random weights, exported by Optimum itself, and what torch computes.

`python export_by_optimum.py FOLDER` makes FOLDER/optimum, with vae_encoder and vae_decoder, and
FOLDER/optimum.npz. No network is used.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from answers import write_answers
from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
from optimum.exporters.onnx import main_export
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

WORDS = ("<|startoftext|>", "<|endoftext|>", "a</w>", "b</w>")


def text_parts(folder: Path) -> tuple[CLIPTokenizer, CLIPTextModel]:
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({word: at for at, word in enumerate(WORDS)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    config = CLIPTextConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        projection_dim=16,
        bos_token_id=0,
        eos_token_id=1,
    )
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=77)
    return tokenizer, CLIPTextModel(config)


def main(folder: Path) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKL(
        latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 16, 32, 32),
        norm_num_groups=8,
        sample_size=64,
        scaling_factor=0.18215,
    ).eval()
    unet = UNet2DConditionModel(
        sample_size=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        cross_attention_dim=16,
        norm_num_groups=4,
        attention_head_dim=4,
    )
    tokenizer, text_encoder = text_parts(folder / "text")
    pipeline = StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "pipeline")
    main_export(str(folder / "pipeline"), folder / "optimum", task="text-to-image", do_validation=False)
    write_answers(folder / "optimum.npz", vae)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
