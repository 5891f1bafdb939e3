"""iWildCam-WILDS, tested on other days of the camera traps of the training images ("ID test")."""

from dassl.data.datasets import DATASET_REGISTRY

from .wilds_iwildcam import IWildCamWilds


@DATASET_REGISTRY.register()
class IWildCamWildsID(IWildCamWilds):
    test_split = "id_test"
    counts = (182, 129_809, 14_961, 8_154)
    variant_of = "IWildCamWilds"
