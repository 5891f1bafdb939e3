"""DigitsRotated: the test images of the digits, enlarged to 32x32 and rotated by up to 45 degrees either way."""

from PIL import Image

from dassl.data.datasets import DATASET_REGISTRY

from .digits import DigitsVariant


@DATASET_REGISTRY.register()
class DigitsRotated(DigitsVariant):
    dataset_dir = "digits_rotated"
    variant_order = 1

    def corrupt(self, image, rng):
        image = image.resize((32, 32), Image.Resampling.BICUBIC)
        return image.rotate(rng.uniform(-45, 45), Image.Resampling.BICUBIC)
