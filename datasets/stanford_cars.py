"""Stanford Cars: 196 models (Krause et al., 2013). As in CoOp, class names start with the year."""

from dassl.data.datasets import DATASET_REGISTRY
from trainers.common.classes import whole_number

from .annotation_files import read_mat
from .base import FewShotDataset
from .random_splits import split_trainval
from .splits import Item, Split


@DATASET_REGISTRY.register()
class StanfordCars(FewShotDataset):
    dataset_dir = "stanford_cars"
    image_dir = ""
    split_file = "split_zhou_StanfordCars.json"
    counts = (196, 6_509, 1_635, 8_041)
    paper_order = 4
    rule = "20 % of each class of cars_train as val"

    def read_data(self):
        train = self.read_annotations("cars_train", "devkit/cars_train_annos.mat")
        return Split(*split_trainval(train), self.read_annotations("cars_test", "cars_test_annos_withlabels.mat"))

    def read_annotations(self, folder, file):
        names = [str(name[0]) for name in read_mat(self.dataset_dir, "devkit/cars_meta.mat")["class_names"][0]]
        items = []
        for row in read_mat(self.dataset_dir, file)["annotations"][0]:
            label = whole_number(row["class"][0, 0]) - 1
            model, _, year = names[label].rpartition(" ")
            items.append(Item(f"{folder}/{row['fname'][0]}", label, f"{year} {model}"))
        return items
