"""SUN397: 397 scenes (Xiao et al., 2010).

A class is a path such as `/a/apse/indoor`. As in CoOp, its name is the path after the letter in reverse: `indoor apse`.
"""

from dassl.data.datasets import DATASET_REGISTRY

from .annotation_files import read_lines
from .base import FewShotDataset
from .random_splits import split_trainval
from .splits import Item, Split


@DATASET_REGISTRY.register()
class SUN397(FewShotDataset):
    dataset_dir = "sun397"
    image_dir = "SUN397"
    split_file = "split_zhou_SUN397.json"
    counts = (397, 15_880, 3_970, 19_850)
    paper_order = 8
    rule = "20 % of each class of Training_01.txt as val"

    def read_data(self):
        labels = {path: label for label, path in enumerate(read_lines(self.dataset_dir, "ClassName.txt"))}
        train, test = (self.read_list(name, labels) for name in ("Training_01.txt", "Testing_01.txt"))
        return Split(*split_trainval(train), test)

    def read_list(self, name, labels):
        items = []
        for line in read_lines(self.dataset_dir, name):
            path = line.rpartition("/")[0]
            items.append(Item(line[1:], labels[path], " ".join(path.split("/")[:1:-1])))
        return items
