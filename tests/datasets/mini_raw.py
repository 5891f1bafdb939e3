"""Writes miniature raw layouts of CoOp's datasets, without split files.

Each builder takes the data folder. It returns the expected class names in label order and the expected number of test
images, None if the raw data have no test list.
"""

import json
from pathlib import Path

import numpy as np
from scipy.io import savemat

from tests.datasets.mini import write_classes, write_images

CLASSNAMES_TXT = "n01440764 tench\nn01443537 goldfish\nn01484850 great white shark\nn01491361 tiger shark\n"
WNIDS, NAMES = ([line.split(" ", 1)[i] for line in CLASSNAMES_TXT.splitlines()] for i in (0, 1))


def folders(path, names):
    """Returns a builder of one folder per class. `names` maps folder to class name, None for an ignored folder."""

    def make(root):
        write_classes(Path(root) / path, {name: 10 for name in names})
        return [names[name] for name in sorted(names) if names[name]], None

    return make


def oxford_pets(root):
    root = Path(root) / "oxford_pets"
    breeds = ["Abyssinian", "american_bulldog", "Persian", "beagle"]  # the order of the labels is not alphabetical
    lists = {"trainval": range(1, 11), "test": range(11, 15)}
    (root / "annotations").mkdir(parents=True)
    for name, numbers in lists.items():
        lines = [f"{breed}_{i} {label} {1 + label % 2} 1" for label, breed in enumerate(breeds, 1) for i in numbers]
        (root / "annotations" / f"{name}.txt").write_text("\n".join(lines) + "\n")
    write_images(root / "images", [f"{breed}_{i}.jpg" for breed in breeds for i in range(1, 15)])
    return ["abyssinian", "american_bulldog", "persian", "beagle"], 16


def oxford_flowers(root):
    root = Path(root) / "oxford_flowers"
    labels = [3, 1, 4, 2] * 10
    write_images(root / "jpg", [f"image_{i:05d}.jpg" for i in range(1, 41)])
    savemat(root / "imagelabels.mat", {"labels": np.array([labels], dtype=np.uint8)})
    names = {"1": "pink primrose", "2": "hard-leaved pocket orchid", "3": "canterbury bells", "4": "sweet pea"}
    (root / "cat_to_name.json").write_text(json.dumps(names))
    return list(names.values()), None


def stanford_cars(root):
    root = Path(root) / "stanford_cars"
    (root / "devkit").mkdir(parents=True)
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Audi 100 Wagon 1994", "BMW M3 Coupe 2012"]
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": np.array([names], dtype=object)})
    for folder, file, count in (
        ("cars_train", "devkit/cars_train_annos.mat", 40),
        ("cars_test", "cars_test_annos_withlabels.mat", 16),
    ):
        write_images(root / folder, [f"{i:05d}.jpg" for i in range(1, count + 1)])
        rows = np.zeros((1, count), dtype=[("class", object), ("fname", object)])
        for i in range(count):
            rows[0, i] = (np.array([[i % 4 + 1]], dtype=np.uint8), f"{i + 1:05d}.jpg")
        savemat(root / file, {"annotations": rows})
    return ["2000 AM General Hummer SUV", "2012 Acura RL Sedan", "1994 Audi 100 Wagon", "2012 BMW M3 Coupe"], 16


def fgvc_aircraft(root):
    root = Path(root) / "fgvc_aircraft"
    variants = ["707-320", "DH-82", "Eurofighter Typhoon", "Yak-42"]
    write_images(root / "images", [f"{i:07d}.jpg" for i in range(32)])
    (root / "variants.txt").write_text("\n".join(variants) + "\n")
    for split, numbers in (("train", range(12)), ("val", range(12, 20)), ("test", range(20, 32))):
        lines = [f"{i:07d} {variants[i % 4]}" for i in numbers]
        (root / f"images_variant_{split}.txt").write_text("\n".join(lines) + "\n")
    return variants, 12


def sun397(root):
    root = Path(root) / "sun397"
    classes = ["/a/abbey", "/a/apse/indoor", "/b/bow_window/outdoor", "/z/zen_garden"]
    for name in classes:
        write_images(root / "SUN397" / name[1:], [f"sun_{i}.jpg" for i in range(14)])
    (root / "ClassName.txt").write_text("\n".join(classes) + "\n")
    for file, numbers in (("Training_01.txt", range(10)), ("Testing_01.txt", range(10, 14))):
        (root / file).write_text("".join(f"{name}/sun_{i}.jpg\n" for name in classes for i in numbers))
    return ["abbey", "indoor apse", "outdoor bow_window", "zen_garden"], 16


def ucf101(root):
    root = Path(root) / "ucf101"
    actions = {
        "ApplyEyeMakeup": "Apply_Eye_Makeup",
        "TaiChi": "Tai_Chi",
        "WallPushups": "Wall_Pushups",
        "YoYo": "Yo_Yo",
    }
    lists = root / "ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("".join(f"{i} {name}\r\n" for i, name in enumerate(actions, 1)))
    for file, groups in (("trainlist01.txt", range(8, 18)), ("testlist01.txt", range(1, 4))):
        lines = []
        for i, (name, folder) in enumerate(actions.items(), 1):
            videos = [f"v_{name}_g{group:02d}_c01" for group in groups]
            write_images(root / "UCF-101-midframes" / folder, [f"{video}.jpg" for video in videos])
            lines += [f"{name}/{video}.avi" + (f" {i}" if "train" in file else "") for video in videos]
        (lists / file).write_text("\n".join(lines) + "\n")
    return list(actions.values()), 12


def imagenet(root):
    root = Path(root) / "imagenet"
    for folder, count in (("train", 10), ("val", 4)):
        write_classes(root / "images" / folder, dict.fromkeys(WNIDS, count))
    (root / "classnames.txt").write_text(CLASSNAMES_TXT)
    return NAMES, 16


def imagenetv2(root):
    root = Path(root) / "imagenetv2"
    write_classes(root / "imagenetv2-matched-frequency-format-val", {"0": 3, "1": 3, "2": 3, "3": 3})
    (root / "classnames.txt").write_text(CLASSNAMES_TXT)
    return NAMES, 12


def variant(folder, image_dir, wnids, names):
    """Returns a builder of a variant of ImageNet with the class folders `wnids`."""

    def make(root):
        write_classes(Path(root) / folder / image_dir, dict.fromkeys(wnids, 4))
        (Path(root) / folder / "classnames.txt").write_text(CLASSNAMES_TXT)
        (Path(root) / folder / image_dir / "README.txt").write_text("not a class")
        return names, 4 * len(names)

    return make


BUILDERS = {
    "Caltech101": folders(
        "caltech-101/101_ObjectCategories",
        {
            "airplanes": "airplane",
            "BACKGROUND_Google": None,
            "Faces": "face",
            "Faces_easy": None,
            "accordion": "accordion",
            "anchor": "anchor",
        },
    ),
    "DescribableTextures": folders(
        "dtd/images", {name: name for name in ("banded", "braided", "dotted", "polka-dotted")}
    ),
    "EuroSAT": folders(
        "eurosat/2750",
        {"AnnualCrop": "Annual Crop Land", "Forest": "Forest", "River": "River", "SeaLake": "Sea or Lake"},
    ),
    "Food101": folders("food-101/images", {name: name for name in ("apple_pie", "baby_back_ribs", "baklava", "tacos")}),
    "OxfordPets": oxford_pets,
    "OxfordFlowers": oxford_flowers,
    "StanfordCars": stanford_cars,
    "FGVCAircraft": fgvc_aircraft,
    "SUN397": sun397,
    "UCF101": ucf101,
    "ImageNet": imagenet,
    "ImageNetV2": imagenetv2,
    "ImageNetSketch": variant("imagenet-sketch", "images", ["n01443537", "n01440764"], ["tench", "goldfish"]),
    "ImageNetA": variant("imagenet-adversarial", "imagenet-a", ["n01484850"], ["great white shark"]),
    "ImageNetR": variant(
        "imagenet-rendition", "imagenet-r", ["n01443537", "n01484850"], ["goldfish", "great white shark"]
    ),
}
