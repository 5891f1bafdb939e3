"""Trains the micro CLIP, assets/micro_clip.pt, from random initialization on the synthetic images of draw.py.

    python assets/train_micro_clip.py

The model has OpenAI's architecture and parameter names and is small enough for a laptop, for tests without a download.
Prints the accuracy on digits and letters in held-out fonts and handwriting at the end. See assets/README.md.
"""

import argparse
import math
import os
import random
import sys
import time
import warnings
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")  # the clip package still imports it
    from clip.clip import tokenize
    from clip.model import CLIP

from assets.captions import all_words, caption, true_of  # noqa: E402
from assets.draw import ATTRIBUTES, GROUPS, HELD_OUT_FONTS, SIDE, Artist  # noqa: E402

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's image normalization
STD = (0.26862954, 0.26130258, 0.27577711)
CONTEXT = 24  # context length in training; the saved model has CLIP's 77 positions
SHAPE = dict(
    embed_dim=128, image_resolution=SIDE, vision_layers=3, vision_width=192, vision_patch_size=8,
    transformer_width=128, transformer_heads=2, transformer_layers=2,
)  # fmt: skip
BATCH = 128  # images per step; half of them have a caption
WARM_UP = 150  # steps
DRAW = 1000  # images per update of the progress bar
STYLE, INK = list(ATTRIBUTES).index("style"), list(ATTRIBUTES).index("ink")


def vocabulary():
    """Returns the sorted ids of the used tokens in CLIP's vocabulary: first 0 (padding), last the end-of-text token."""
    return torch.unique(torch.cat([tokenize(word)[0] for word in all_words()]))


def ink(image, attributes, generator):
    """Applies random contrast, noise and ink colour to images, and normalizes them for CLIP.

    Args:
        image: (n, SIDE, SIDE) uint8, white on black.
        attributes: (n, A).
        generator: a torch.Generator on the CPU.

    Returns:
        Normalized images (n, 3, SIDE, SIDE), a third of them black on white, and attributes with the ink colour.
    """
    low, high, flip = torch.rand(3, len(image), 1, 1, generator=generator).to(image.device)
    noise = 0.03 * torch.randn(image.shape, generator=generator).to(image.device)
    x = 0.25 * low + (1 - 0.4 * high - 0.25 * low) * image.float() / 255 + noise
    flip = flip < 1 / 3
    x = torch.where(flip, 1 - x, x).clamp(0, 1)
    attributes = attributes.clone()
    attributes[:, INK] = flip.flatten().long().to(attributes.device)
    mean, std = torch.tensor([MEAN, STD], device=image.device)[:, None, :, None, None]
    return (x[:, None] - mean) / std, attributes


def contrastive_loss(logits, true):
    """Returns CLIP's symmetric cross-entropy, generalized to several true captions per image and images per caption.

    Args:
        logits: (images, captions).
        true: same shape, 1 if the caption is true of the image, else 0.

    Example: true = [[1, 1], [0, 0]]. The target of image 0 is (0.5, 0.5); image 1, without a true caption, adds 0. The
    target of both captions is (1, 0).
    """

    def one_way(logits, true):
        target = true / true.sum(dim=-1, keepdim=True).clamp_min(1)
        return -(target * F.log_softmax(logits, dim=-1)).sum(dim=-1).mean()

    return (one_way(logits, true) + one_way(logits.T, true.T)) / 2


class Trainer:
    """Holds the model, optimiser and random generators of one training run."""

    def __init__(self, steps, lr=1e-3, seed=1, device="cpu", bf16=False):
        torch.manual_seed(seed)
        self.steps = steps
        self.device = torch.device(device)
        self.bf16 = bf16
        self.token_ids = vocabulary()
        self.model = CLIP(**SHAPE, context_length=CONTEXT, vocab_size=len(self.token_ids)).to(self.device)
        matrices = [p for p in self.model.parameters() if p.ndim > 1]
        others = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98))
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda i: min((i + 1) / WARM_UP, 0.5 + 0.5 * math.cos(math.pi * i / steps))
        )
        self.rng = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def tokens(self, texts):
        """Tokenizes texts; returns their rows in the token embedding, (n, CONTEXT)."""
        return torch.searchsorted(self.token_ids, tokenize(texts, context_length=CONTEXT).long()).to(self.device)

    def step(self, images, attributes):
        """Runs one training step on a random batch of the images; returns its loss."""
        batch = torch.randint(len(images), (BATCH,), generator=self.generator)
        image, known = ink(images[batch].to(self.device), attributes[batch], self.generator)
        texts, said = zip(*[caption(row, self.rng) for row in known[: BATCH // 2].tolist()], strict=True)
        true = true_of(known, torch.tensor(said)).to(self.device)  # (BATCH, BATCH / 2)
        bf16 = torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)
        with bf16, sdpa_kernel(SDPBackend.MATH):  # faster than the fused kernels for short sequences
            image = self.model.encode_image(image).float()
            text = self.model.encode_text(self.tokens(list(texts))).float()
        logits = self.model.logit_scale.exp() * F.normalize(image, dim=-1) @ F.normalize(text, dim=-1).T
        loss = contrastive_loss(logits, true.float())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.scheduler.step()
        self.model.logit_scale.data.clamp_(max=math.log(100))
        return loss.item()

    def train(self, images, attributes):
        bar = tqdm(range(self.steps), desc="train", unit="step", disable=None)
        for i in bar:
            loss = self.step(images, attributes)
            if i % 20 == 0:
                bar.set_postfix(loss=f"{loss:.3f}", logit_scale=f"{self.model.logit_scale.exp().item():.1f}")

    @torch.no_grad()
    def accuracy(self, images, attributes, group):
        """Returns the zero-shot accuracy in percent on the images of a group ("number", "letter"), among its names."""
        names = [i for i, name in enumerate(ATTRIBUTES["name"]) if name in GROUPS[group]]
        keep = torch.isin(attributes[:, 0], torch.tensor(names))
        image, _ = ink(images[keep].to(self.device), attributes[keep], torch.Generator().manual_seed(0))
        text = self.model.encode_text(self.tokens([f"a photo of the {group} {ATTRIBUTES['name'][i]}." for i in names]))
        nearest = (self.model.encode_image(image) @ F.normalize(text, dim=-1).T).argmax(dim=-1).cpu()
        return 100 * (torch.tensor(names)[nearest] == attributes[keep, 0]).float().mean().item()

    def report(self, n):
        """Returns accuracies in percent by style and group, on n images in training and in held-out fonts."""
        result = {}
        for source, artist in (("seen", Artist()), ("held-out", Artist(HELD_OUT_FONTS, held_out=True))):
            images, attributes = artist.draw(n, seed=10**9)
            for style, word in enumerate(ATTRIBUTES["style"]):
                mask = attributes[:, STYLE] == style
                for group in ("number", "letter"):
                    value = self.accuracy(images[mask], attributes[mask], group)
                    result[f"{source} {word} {group}s"] = round(value, 1)
        return result

    def save(self, path, meta):
        """Writes the weights file of MODEL.BACKBONE.NAME "micro"; replaces an older file atomically."""
        state = {name: value.detach().cpu() for name, value in self.model.state_dict().items()}
        # Positions beyond CONTEXT are not trained: copy the last trained position embedding.
        position = state["positional_embedding"]
        state["positional_embedding"] = torch.cat([position, position[-1:].expand(77 - CONTEXT, -1)])
        state = {name: value.half() for name, value in state.items()}
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            torch.save({"state_dict": state, "token_ids": self.token_ids, "meta": meta}, temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def draw(n, seed):
    """Draws n images; returns them and their attributes, and shows a progress bar."""
    artist = Artist()
    starts = tqdm(range(0, n, DRAW), desc="draw", unit=f"x{DRAW} images", disable=None)
    chunks = [artist.draw(min(DRAW, n - i), seed=seed * 10**6 + i) for i in starts]
    return tuple(torch.cat(tensors) for tensors in zip(*chunks, strict=True))


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "micro_clip.pt", help="file to write")
    parser.add_argument("--steps", type=int, default=1500, help=f"training steps of {BATCH} images (default: 1500)")
    parser.add_argument("--images", type=int, default=60_000, help="images to draw (default: 60000)")
    parser.add_argument("--lr", type=float, default=1e-3, help="peak learning rate of AdamW (default: 0.001)")
    parser.add_argument(
        "--seed",
        type=int,
        default=1,
        help="random seed (default: 1); the same seed on the same machine gives the same file",
    )
    parser.add_argument(
        "--device", default="auto", help="auto (CUDA if available), cpu, cuda, cuda:1, ... (default: auto)"
    )
    parser.add_argument(
        "--bf16", action="store_true", help="train in bfloat16: twice as fast if the processor supports it"
    )
    args = parser.parse_args(argv)
    for option in ("steps", "images", "lr"):
        if getattr(args, option) <= 0:
            parser.error(f"--{option} must be above 0, got {getattr(args, option)}")
    if args.device == "auto":
        args.device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=args.device)
    except (RuntimeError, AssertionError) as error:
        parser.error(f"--device {args.device} cannot be used: {str(error).splitlines()[0]}")
    try:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        writable = os.access(args.out.parent, os.W_OK) and not args.out.is_dir()
    except OSError:
        writable = False
    if not writable:
        parser.error(f"--out {args.out} cannot be written: choose a file in a writable folder")
    return args


def main(argv=None):
    args = parse(argv)
    start = time.time()
    trainer = Trainer(args.steps, args.lr, args.seed, args.device, args.bf16)
    size = sum(p.numel() for p in trainer.model.parameters())
    print(f"{size:,} trained parameters, with {len(trainer.token_ids)} tokens, on {args.device}")
    trainer.train(*draw(args.images, args.seed))
    accuracy = trainer.report(min(2000, args.images))
    for name, value in accuracy.items():
        print(f"{name:28s} {value:5.1f} %")
    options = {name: value for name, value in vars(args).items() if name != "out"}
    trainer.save(args.out, {"options": options, "torch": str(torch.__version__), "accuracy": accuracy})
    minutes = (time.time() - start) / 60
    print(f"Wrote {args.out}, {args.out.stat().st_size / 1e6:.2f} MB, after {minutes:.1f} minutes")


if __name__ == "__main__":
    main()
