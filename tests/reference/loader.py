"""Reference for data loading, as in Dassl: torch's loader, new workers per epoch, images decoded in every epoch."""

from PIL import Image
from torch.utils.data import DataLoader, Dataset, RandomSampler
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]


class PlainDataset(Dataset):
    """Reads and transforms the images of `items` on access."""

    def __init__(self, items, transform):
        self.items, self.transform = items, transform

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> dict:
        item = self.items[index]
        with Image.open(item.impath) as image:
            image = image.convert("RGB")
        output = {"label": item.label, "domain": item.domain, "impath": item.impath, "index": index}
        return {"img": self.transform(image), **output}


def plain_transform(size) -> T.Compose:
    """CoOp's augmentation."""
    crop = T.RandomResizedCrop(size, scale=(0.08, 1.0), interpolation=InterpolationMode.BICUBIC)
    return T.Compose([crop, T.RandomHorizontalFlip(), T.ToTensor(), T.Normalize(MEAN, STD)])


def plain_loader(items, transform, batch_size: int, num_workers: int) -> DataLoader:
    """A training loader."""
    dataset = PlainDataset(items, transform)
    return DataLoader(
        dataset, batch_size, sampler=RandomSampler(dataset), num_workers=num_workers, drop_last=len(items) >= batch_size
    )
