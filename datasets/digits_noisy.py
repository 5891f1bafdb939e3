"""DigitsNoisy: the test images of the digits with Gaussian noise (standard deviation 60 of 255) on each pixel."""

from PIL import Image

from dassl.data.datasets import DATASET_REGISTRY

from .digits import DigitsVariant


@DATASET_REGISTRY.register()
class DigitsNoisy(DigitsVariant):
    dataset_dir = "digits_noisy"
    variant_order = 2

    def corrupt(self, image, rng):
        noisy = (round(value + rng.gauss(0, 60)) for value in image.tobytes())
        return Image.frombytes("L", image.size, bytes(min(255, max(0, value)) for value in noisy))
