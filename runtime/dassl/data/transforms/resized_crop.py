"""RandomResizedCrop with torch's resizing of bytes, which uses the CPU's vector instructions."""

import numpy as np
import torch
from PIL import Image
from torchvision import transforms as T


class TorchResizedCrop(T.RandomResizedCrop):
    """The same crops as torchvision's; from a PIL image in RGB to bytes (3, H, W).

    Torch rounds the weights of neighbouring pixels to 16 bits, Pillow to 22, so that some bytes come out different.
    """

    def forward(self, image: Image.Image) -> torch.Tensor:
        top, left, height, width = self.get_params(image, self.scale, self.ratio)
        pixels = getattr(image, "pixels", None)  # of an image kept in memory
        if pixels is None:
            pixels = np.array(image)
        crop = torch.from_numpy(pixels[top : top + height, left : left + width])  # (h, w, 3)
        crop = crop.permute(2, 0, 1)[None]  # (1, 3, h, w)
        return torch.nn.functional.interpolate(crop, self.size, mode=self.interpolation.value, antialias=True)[0]
