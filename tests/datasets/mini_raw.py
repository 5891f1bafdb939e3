"""Writes miniature raw layouts of CoOp's datasets, without split files.

Each builder takes the data folder. It returns the expected class names in label order and the expected number of test
images, None if the raw data have no test list.
"""

import json
from pathlib import Path

import numpy as np
from scipy.io import savemat

from datasets.imagenet_c import CORRUPTIONS
from datasets.wilds_fmow import CATEGORIES as FMOW
from datasets.wilds_iwildcam import IWildCamWilds
from tests.datasets.mini import write_classes, write_images

CLASSNAMES_TXT = "n01440764 tench\nn01443537 goldfish\nn01484850 great white shark\nn01491361 tiger shark\n"
IWILDCAM = IWildCamWilds.at_root("data").label_names()
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


def imagenetv2(test_set):
    """Returns a builder of one of the three test sets."""

    def make(root):
        root = Path(root) / "imagenetv2"
        write_classes(root / f"imagenetv2-{test_set}-format-val", {"0": 3, "1": 3, "2": 3, "3": 3})
        (root / "classnames.txt").write_text(CLASSNAMES_TXT)
        return NAMES, 12

    return make


def imagenet_c(root, corruptions=tuple(CORRUPTIONS)):
    root = Path(root) / "imagenet-c"
    for corruption in corruptions:
        for severity in range(1, 6):
            write_classes(root / corruption / str(severity), dict.fromkeys(WNIDS[:2], 1))
    (root / "classnames.txt").write_text(CLASSNAMES_TXT)
    return ["tench", "goldfish"], 2 * 5 * len(corruptions)


def imagenet_o(root):
    """Writes 3 anomalies and 4 of ImageNet's images in each of 2 classes, and images of a class that is not used."""
    for wnid in WNIDS[1:3]:
        write_images(Path(root) / "imagenet-o" / "images" / wnid, [f"anomaly of {wnid}, {i}.jpg" for i in range(3)])
    (Path(root) / "imagenet-o" / "classnames.txt").write_text(CLASSNAMES_TXT)
    write_classes(Path(root) / "imagenet" / "images" / "val", dict.fromkeys(WNIDS[:3], 4))
    return NAMES[1:3], 2 * (3 + 4)


OBJECTNET = {"alarm_clock": "Alarm clock", "aa_band_aid": "Band Aid", "zebra": "Zebra toy", "bench": "Bench"}


def objectnet(root):
    """Writes four classes, of which ImageNet has three."""
    root = Path(root) / "objectnet-1.0"
    write_classes(root / "images", dict.fromkeys(OBJECTNET, 4))
    (root / "mappings").mkdir()
    imagenet = {"Bench": "park bench", "Alarm clock": "analog clock; digital clock", "Band Aid": "Band Aid"}
    for name, content in (("folder_to_objectnet_label", OBJECTNET), ("objectnet_to_imagenet_1k", imagenet)):
        (root / "mappings" / f"{name}.json").write_text(json.dumps(content))
    return ["band aid", "alarm clock", "bench"], 12


def variant(folder, image_dir, wnids, names):
    """Returns a builder of a variant of ImageNet with the class folders `wnids`."""

    def make(root):
        write_classes(Path(root) / folder / image_dir, dict.fromkeys(wnids, 4))
        (Path(root) / folder / "classnames.txt").write_text(CLASSNAMES_TXT)
        (Path(root) / folder / image_dir / "README.txt").write_text("not a class")
        return names, 4 * len(names)

    return make


def write_table(path, header, rows):
    """Writes a CSV file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(",".join(map(str, row)) for row in [header, *rows]) + "\n")


def fmow(root):
    """Writes 62 classes with 2 images in each of id_val, val, id_test and test, and with images of no split.

    The first row has the split "seq", so that the number in a name is not the position among the images of the splits.
    """
    root = Path(root) / "fmow_v1.1"
    countries = ("KEN", "FRA", "XXX", "BRA")  # XXX has no region
    table = [("alpha-3", "region"), ("KEN", "Africa"), ("FRA", "Europe"), ("BRA", "Americas")]
    write_table(root / "country_code_mapping.csv", table[0], table[1:])
    years = {"train": [2002] * 5 + [2012] * 5, "val": [2012, 2010, 2013, 2015], "test": [2009, 2012, 2016, 2017]}
    unused = [("train", 2013), ("val", 2016), ("test", 2013), ("seq", 2010), ("seq", 2016)]
    rows = [("seq", "zoo", "2010-01-01T00:00:00Z", "FRA", 9)]
    for number, category in enumerate(FMOW):
        used = [(split, year) for split in years for year in years[split]]
        for index, (split, year) in enumerate(used + unused):
            time = f"{year}-12-31T23:59:59Z" if index % 2 else f"{year}-01-01T00:00:00+00:00"
            rows.append((split, category, time, countries[(number + index) % 4], index))
    write_table(root / "rgb_metadata.csv", ("split", "category", "timestamp", "country_code", "cloud_cover"), rows)
    write_images(root / "images", [f"rgb_img_{row}.png" for row in range(len(rows)) if rows[row][0] != "seq"])
    return list(FMOW), 2 * len(FMOW)


def camelyon17(root):
    root = Path(root) / "camelyon17_v1.0"
    rows = []
    for hospital in range(5):
        for index in range(12):
            row = (len(rows), f"00{hospital}", index % 3, index, 7 * index, index % 2, hospital, index // 9, hospital)
            rows.append(row)
    header = ("", "patient", "node", "x_coord", "y_coord", "tumor", "center", "split", "slide")
    write_table(root / "metadata.csv", header, rows)
    for _, patient, node, x, y, *_ in rows:
        slide = f"patient_{patient}_node_{node}"
        write_images(root / "patches" / slide, [f"patch_{slide}_x_{x}_y_{y}.png"])
    return ["lymph node", "lymph node containing metastatic tumor tissue"], 12


def iwildcam(root):
    root = Path(root) / "iwildcam_v2.0"
    counts = {"id_test": 1, "id_val": 1, "test": 2, "train": 3, "val": 1}
    rows = []
    for split, count in counts.items():
        for label in range(len(IWILDCAM)):
            if split == "train" or label < 20:  # as in the original, some classes have train images only
                rows += [(split, label, f"{split}-{label}-{index}.jpg") for index in range(count)]
    # The columns after the file name are not read here, but by the package `wilds`.
    rows = [(index, *row, index, index, "2015-01-01 12:00:00.000") for index, row in enumerate(rows)]
    header = ("", "split", "y", "filename", "location_remapped", "sequence_remapped", "datetime")
    write_table(root / "metadata.csv", header, rows)
    write_images(root / "train", [row[3] for row in rows])
    return list(IWILDCAM), 40


NUMBERS = [100, 3, 20, 1000, 7, 15, 230, 2, 9, 41, 8, 77, 500, 31]  # of ImageNet's images, not in order


def mini_imagenet(name, positions=range(2, 13)):
    """Returns a builder of a list of Mini-ImageNet and of ImageNet's images, 14 per class."""

    def make(root):
        imagenet = Path(root) / "imagenet"
        for wnid in WNIDS:
            write_images(imagenet / "images" / "train" / wnid, [f"{wnid}_{number}.jpg" for number in NUMBERS])
        (imagenet / "classnames.txt").write_text(CLASSNAMES_TXT)
        rows = [(f"{wnid}{position:08d}.jpg", wnid) for wnid in WNIDS[::-1] for position in positions]
        write_table(Path(root) / "mini-imagenet" / f"{name}.csv", ("filename", "label"), rows)
        return NAMES, None if name == "train" else len(rows)

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
    "ImageNetV2": imagenetv2("matched-frequency"),
    "ImageNetV2Threshold": imagenetv2("threshold0.7"),
    "ImageNetV2TopImages": imagenetv2("top-images"),
    "ImageNetC": imagenet_c,
    "ImageNetO": imagenet_o,
    "ObjectNet": objectnet,
    "ImageNetSketch": variant("imagenet-sketch", "images", ["n01443537", "n01440764"], ["tench", "goldfish"]),
    "ImageNetA": variant("imagenet-adversarial", "imagenet-a", ["n01484850"], ["great white shark"]),
    "ImageNetR": variant(
        "imagenet-rendition", "imagenet-r", ["n01443537", "n01484850"], ["goldfish", "great white shark"]
    ),
    "MiniImageNet": mini_imagenet("test"),
    "MiniImageNetVal": mini_imagenet("val"),
    "MiniImageNetTrain": mini_imagenet("train"),
    "FMoWWilds": fmow,
    "FMoWWildsID": fmow,
    "Camelyon17Wilds": camelyon17,
    "IWildCamWilds": iwildcam,
    "IWildCamWildsID": lambda root: (iwildcam(root)[0], 20),
}
