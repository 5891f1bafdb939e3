"""A torch dataset that reads and transforms images."""

from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms as T

from dassl.utils import ImageReadError, read_image
from dassl.utils.images import image_size

from .fast_loader.byte_batch import Images, split_transform
from .fast_loader.loader import Batch
from .fast_loader.stored_image import stored
from .transforms import INTERPOLATION_MODES


class DatasetWrapper(Dataset):
    """Reads and transforms the images of a list of Datum.

    If `transform` is a list, the results are named img, img2, img3, ... With DATALOADER.K_TRANSFORMS > 1 each of them
    is a list of that many augmented views in training.
    """

    cache = None  # the ImageCache to read images from; None: read files
    shared = None  # the SharedImages of the jobs of a sweep, for `transform`; None: read and transform images

    def __init__(self, cfg, data_source, transform=None, is_train=False):
        self.cfg = cfg
        self.data_source = data_source
        self.transform = transform
        self.is_train = is_train
        self.k_tfm = cfg.DATALOADER.K_TRANSFORMS if is_train else 1
        self.return_img0 = cfg.DATALOADER.RETURN_IMG0
        self.exif = cfg.INPUT.EXIF_ORIENTATION
        self.border = cfg.INPUT.CROP_BORDER
        if self.k_tfm > 1 and transform is None:
            raise ValueError(
                f"DATALOADER.K_TRANSFORMS {self.k_tfm} needs a transform: set it to 1, or INPUT.NO_TRANSFORM False"
            )
        mode = INTERPOLATION_MODES[cfg.INPUT.INTERPOLATION]
        steps = [T.Resize(cfg.INPUT.SIZE, interpolation=mode), T.ToTensor()]
        if "normalize" in cfg.INPUT.TRANSFORMS:
            steps.append(T.Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD))
        self.to_tensor = T.Compose(steps)

    def __len__(self) -> int:
        return len(self.data_source)

    def __getitem__(self, idx: int) -> dict:
        return self._item(idx, self.transform)

    def __getitems__(self, indices: list[int]) -> list[dict]:
        """Returns the items; for our Loader without ToTensor and Normalize, which it applies per batch."""
        parts = split_transform(self.transform) if isinstance(indices, Batch) and self.k_tfm == 1 else None
        plain = parts is None or type(self).__getitem__ is not DatasetWrapper.__getitem__
        rows = getattr(indices, "rows", None)
        if rows is None:
            items = [self[index] if plain else self._item(index, parts[0], shared=self.shared) for index in indices]
        else:
            numbers = range(len(indices))[rows]
            # The others have random numbers too, whose order is that of the images
            items = [
                self[index] if plain else self._item(index, parts[0], blank=number not in numbers)
                for number, index in enumerate(indices)
            ][rows]
            items = [{**item, "batch_size": len(indices)} for item in items]
        return items if plain else Images(items, tail=parts[1])

    def _item(self, idx: int, transform, blank: bool = False, shared=None) -> dict:
        item = self.data_source[idx]
        output = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
        if shared is not None and not self.return_img0:
            return {**output, "img": shared.image(item.impath, lambda: transform(self._read(item.impath)))}
        img0 = self._blank(item.impath) if blank else self._read(item.impath)
        if transform is None:
            output["img"] = img0
        elif isinstance(transform, (list, tuple)):
            for i, tfm in enumerate(transform):
                output["img" if i == 0 else f"img{i + 1}"] = self._transform_image(tfm, img0)
        else:
            output["img"] = self._transform_image(transform, img0)
        if self.return_img0:
            output["img0"] = self.to_tensor(img0)
        return output

    def _read(self, path: str):
        try:
            if self.cache is not None:
                return self.cache.read(path)
            return stored(read_image(path, self.exif, self.border))
        except ImageReadError as error:
            raise ImageReadError(f"{error}; tools/prepare_data.py --check lists all such images") from error

    def _blank(self, path: str):
        """Returns a black image of the size of an image: transforms draw the same random numbers for it."""
        try:
            return Image.new("RGB", image_size(path, self.exif))
        except ImageReadError:  # reported by the process that needs its pixels
            return Image.new("RGB", self.cfg.INPUT.SIZE)

    def _transform_image(self, tfm, img0):
        views = [tfm(img0) for _ in range(self.k_tfm)]
        return views[0] if len(views) == 1 else views
