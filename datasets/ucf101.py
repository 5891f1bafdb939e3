"""UCF101: 101 actions (Soomro et al., 2012), the middle frame of each video. Class names: `Apply_Eye_Makeup`."""

import re

from dassl.data.datasets import DATASET_REGISTRY

from .annotation_files import read_lines
from .base import FewShotDataset
from .random_splits import split_trainval
from .splits import Item, Split


@DATASET_REGISTRY.register()
class UCF101(FewShotDataset):
    dataset_dir = "ucf101"
    image_dir = "UCF-101-midframes"
    split_file = "split_zhou_UCF101.json"
    template = "a photo of a person doing {}."
    counts = (101, 7_639, 1_898, 3_783)
    paper_order = 11
    rule = "20 % of each class of trainlist01.txt as val"

    def read_data(self):
        lines = read_lines(self.dataset_dir, "ucfTrainTestlist", "classInd.txt")  # "1 ApplyEyeMakeup"
        labels = {action: int(number) - 1 for number, action in map(str.split, lines)}
        train, test = (self.read_list(name, labels) for name in ("trainlist01.txt", "testlist01.txt"))
        return Split(*split_trainval(train), test)

    def read_list(self, name, labels):
        """Lines are `ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi`, followed by the label in the train list."""
        items = []
        for line in read_lines(self.dataset_dir, "ucfTrainTestlist", name):
            action, video = line.split()[0].split("/")
            folder = "_".join(re.findall("[A-Z][^A-Z]*", action))
            items.append(Item(f"{folder}/{video.removesuffix('.avi')}.jpg", labels[action], folder))
        return items
