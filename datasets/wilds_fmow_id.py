"""FMoW-WILDS, tested on images of the same years as the training images ("ID test")."""

from dassl.data.datasets import DATASET_REGISTRY

from .wilds_fmow import FMoWWilds


@DATASET_REGISTRY.register()
class FMoWWildsID(FMoWWilds):
    test_split = "id_test"
    counts = (62, 76_863, 19_915, 11_327)
    variant_of = "FMoWWilds"
