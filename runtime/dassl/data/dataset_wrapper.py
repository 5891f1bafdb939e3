"""A torch dataset that reads and transforms images."""

from torch.utils.data import Dataset
from torchvision import transforms as T

from dassl.utils import ImageReadError, read_image

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
        if parts is None or type(self).__getitem__ is not DatasetWrapper.__getitem__:
            return [self[index] for index in indices]
        return Images([self._item(index, parts[0]) for index in indices], tail=parts[1])

    def _item(self, idx: int, transform) -> dict:
        item = self.data_source[idx]
        img0 = self._read(item.impath)
        output = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": idx}
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

    def _transform_image(self, tfm, img0):
        views = [tfm(img0) for _ in range(self.k_tfm)]
        return views[0] if len(views) == 1 else views
