"""Trains the micro CLIP, assets/micro_clip.pt, from random initialisation on images that draw.py draws.

    python assets/train_micro_clip.py

OpenAI's architecture and parameter names at a size for a laptop: for trying and testing CLIPFit without a download.
"""

import argparse
import math
import os
import random
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from clip.clip import tokenize  # noqa: E402
from clip.model import CLIP  # noqa: E402

from assets.captions import all_words, caption, true_of  # noqa: E402
from assets.draw import ATTRIBUTES, FONTS, GROUPS, HELD_OUT_FONTS, SIDE, Artist  # noqa: E402

MEAN = (0.48145466, 0.4578275, 0.40821073)  # of CLIP's image normalisation
STD = (0.26862954, 0.26130258, 0.27577711)
CONTEXT = 24  # tokens of the longest caption in training; the saved model has CLIP's 77 positions
SHAPE = dict(
    embed_dim=128, image_resolution=SIDE, vision_layers=3, vision_width=192, vision_patch_size=8,
    transformer_width=128, transformer_heads=2, transformer_layers=2,
)  # fmt: skip
INK = list(ATTRIBUTES).index("ink")
MAX_LOGIT_SCALE = math.log(100)


def vocabulary():
    """Sorted ids, in CLIP's vocabulary, of the tokens that captions use; the first is 0, which pads, the last ends."""
    ids = torch.cat([tokenize(word)[0] for word in all_words().split()])
    return torch.unique(torch.cat([ids, tokenize("a, b. c")[0]]))


def ink(image, attributes, generator):
    """Float images (n, 3, SIDE, SIDE), normalised as CLIP wants them, from drawn ones: contrast, noise, and for a third
    black on white, which is noted in the attributes."""
    n, device = len(image), image.device
    low, high, flip = torch.rand(3, n, 1, 1, generator=generator).to(device)
    noise = 0.03 * torch.randn(image.shape, generator=generator).to(device)
    x = 0.25 * low + (1 - 0.4 * high - 0.25 * low) * image.float() / 255 + noise
    flip = flip < 0.33
    x = torch.where(flip, 1 - x, x).clamp(0, 1)
    attributes = attributes.clone()
    attributes[:, INK] = flip.flatten().long()
    mean, std = torch.tensor([MEAN, STD], device=device)[:, None, :, None, None]
    return (x[:, None] - mean) / std, attributes


def contrastive_loss(logits, true):
    """CLIP's symmetric cross-entropy for logits (images, captions) where several captions may be true of an image and
    several images fit a caption: the target is spread evenly over all that are true."""
    def one_way(logits, true):
        target = true / true.sum(-1, keepdim=True).clamp_min(1)
        return -(target * F.log_softmax(logits, dim=-1)).sum(-1).mean()

    return (one_way(logits, true) + one_way(logits.T, true.T)) / 2


class Trainer:
    def __init__(self, args):
        self.args = args
        torch.manual_seed(args.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu") if args.device == "auto" else torch.device(args.device)
        self.token_ids = vocabulary()
        self.model = CLIP(**SHAPE, context_length=CONTEXT, vocab_size=len(self.token_ids)).to(self.device)
        decay = [p for p in self.model.parameters() if p.ndim > 1]
        rest = [p for p in self.model.parameters() if p.ndim <= 1]
        groups = [{"params": decay, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, lr=args.lr, betas=(0.9, 0.98))
        warm = max(1, min(200, args.steps // 10))
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            lambda i: min((i + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * i / args.steps)),
        )
        self.rng = random.Random(args.seed)
        self.generator = torch.Generator().manual_seed(args.seed)

    def tokens(self, texts):
        return torch.searchsorted(self.token_ids, tokenize(texts, context_length=CONTEXT)).to(self.device)

    def step(self, images, attributes):
        batch = torch.randint(len(images), (self.args.batch,), generator=self.generator)
        image, known = ink(images[batch].to(self.device), attributes[batch], self.generator)
        texts, said = zip(*[caption(a, self.rng) for a in known[: self.args.batch // 2].tolist()], strict=True)
        true = true_of(known, torch.tensor(said)).to(self.device)
        bf16 = torch.autocast(self.device.type, torch.bfloat16, enabled=self.args.bf16)
        with bf16, sdpa_kernel(SDPBackend.MATH):  # at 17 tokens the fused kernels are slower
            image_features = self.model.encode_image(image)
            text_features = self.model.encode_text(self.tokens(list(texts)))
        logits = F.normalize(image_features.float(), dim=-1) @ F.normalize(text_features.float(), dim=-1).T
        loss = contrastive_loss(self.model.logit_scale.exp() * logits, true.float())
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=MAX_LOGIT_SCALE)
        return loss.item()

    def train(self):
        artist = Artist()
        parts = [artist.draw(min(1000, self.args.images - i), self.args.seed * 10**6 + i)
                 for i in tqdm(range(0, self.args.images, 1000), desc="draw", unit="k")]
        images, attributes = (torch.cat(p) for p in zip(*parts, strict=True))
        bar = tqdm(range(self.args.steps), desc="train")
        for i in bar:
            loss = self.step(images, attributes)
            if i % 50 == 0:
                bar.set_postfix(loss=f"{loss:.3f}", scale=f"{self.model.logit_scale.exp().item():.1f}")

    @torch.no_grad()
    def accuracy(self, images, attributes, prompt, names):
        """Percentage of images whose name is the nearest of names' prompts."""
        keep = torch.isin(attributes[:, 0], torch.tensor(names))
        image, _ = ink(images[keep].to(self.device), attributes[keep], torch.Generator().manual_seed(0))
        text = self.model.encode_text(self.tokens([prompt.format(ATTRIBUTES["name"][i]) for i in names]))
        logits = self.model.encode_image(image) @ F.normalize(text, dim=-1).T
        return 100 * (torch.tensor(names)[logits.argmax(-1).cpu()] == attributes[keep, 0]).float().mean().item()

    def report(self, n=3000):
        self.model.eval()
        digits, letters = range(10), range(10, 10 + len(GROUPS["letter"]))
        result = {}
        for what, artist in {"seen": Artist(), "held-out": Artist(HELD_OUT_FONTS, held_out=True)}.items():
            images, attributes = artist.draw(n, 10**9)
            for style, word in enumerate(ATTRIBUTES["style"]):
                at = attributes[:, 3] == style
                for name, (prompt, ids) in {"digits": ("a photo of the number {}.", digits), "letters": ("a photo of the letter {}.", letters)}.items():
                    result[f"{what} {word} {name}"] = round(self.accuracy(images[at], attributes[at], prompt, list(ids)), 1)
        return result

    def save(self, path, meta):
        state = {k: v.detach().cpu() for k, v in self.model.state_dict().items()}
        # positions no caption reached get the last one that was trained, nearest to what a longer text would need
        position = state["positional_embedding"]
        state["positional_embedding"] = torch.cat([position, position[-1:].expand(77 - CONTEXT, -1)])
        state = {k: v.half() for k, v in state.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        torch.save({"state_dict": state, "token_ids": self.token_ids, "meta": meta}, temporary)
        os.replace(temporary, path)


def parse(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "assets" / "micro_clip.pt")
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--bf16", action="store_true", help="twice as fast where the processor has bfloat16 units")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse(argv)
    start = time.time()
    trainer = Trainer(args)
    print(f"{sum(p.numel() for p in trainer.model.parameters()):,} weights, {len(trainer.token_ids)} tokens, {trainer.device}")
    trainer.train()
    accuracy = trainer.report()
    for k, v in accuracy.items():
        print(f"{k:32s} {v:5.1f} %")
    trainer.save(args.out, {"args": str(vars(args)), "accuracy": accuracy})
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB after {(time.time() - start) / 60:.1f} minutes")


if __name__ == "__main__":
    main()
