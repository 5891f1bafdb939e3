"""CLIPs with random weights, in OpenAI's sizes and smaller ones."""

import torch
from clip.model import CLIP

# embed_dim, image side, vision layers, vision width, patch, context, vocabulary, text width, text heads, text layers
SIZES = {
    "ViT-B/16": (512, 224, 12, 768, 16, 77, 49408, 512, 8, 12),
    "ViT-B/32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
    "ViT-L/14": (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12),
    "RN50": (1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12),
    "tiny": (64, 32, 2, 128, 8, 77, 49408, 128, 2, 3),
    "tiny-RN": (64, 64, (1, 1, 1, 1), 16, None, 77, 49408, 64, 1, 2),
}


def random_clip(size: str = "tiny", seed: int = 0) -> CLIP:
    """A frozen fp32 CLIP with random weights. LayerNorm weights and all biases are random too, not ones and zeros."""
    rng = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = CLIP(*SIZES[size]).float().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.normal_(0, 0.02)
        elif "ln_" in name:
            parameter.normal_(1, 0.02)
    torch.random.set_rng_state(rng)
    return model


def save_clip(model: CLIP, path) -> str:
    """Writes a CLIP as a state dict for `load_clip`. Returns the path as a string."""
    torch.save(model.state_dict(), path)
    return str(path)
