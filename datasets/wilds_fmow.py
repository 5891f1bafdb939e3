"""FMoW-WILDS: 62 kinds of land use in satellite images; tested on later years (Christie et al., 2018).

Results are compared by the accuracy of the worst region.
"""

from datetime import datetime, timezone

from dassl.data.datasets import DATASET_REGISTRY

from .annotation_files import read_table
from .wilds import WildsDataset

CATEGORIES = (
    "airport", "airport_hangar", "airport_terminal", "amusement_park", "aquaculture", "archaeological_site", "barn",
    "border_checkpoint", "burial_site", "car_dealership", "construction_site", "crop_field", "dam",
    "debris_or_rubble", "educational_institution", "electric_substation", "factory_or_powerplant", "fire_station",
    "flooded_road", "fountain", "gas_station", "golf_course", "ground_transportation_station", "helipad", "hospital",
    "impoverished_settlement", "interchange", "lake_or_pond", "lighthouse", "military_facility",
    "multi-unit_residential", "nuclear_powerplant", "office_building", "oil_or_gas_facility", "park",
    "parking_lot_or_garage", "place_of_worship", "police_station", "port", "prison", "race_track", "railway_bridge",
    "recreational_facility", "road_bridge", "runway", "shipyard", "shopping_mall", "single-unit_residential",
    "smokestack", "solar_farm", "space_facility", "stadium", "storage_tank", "surface_mine", "swimming_pool",
    "toll_booth", "tower", "tunnel_opening", "waste_disposal", "water_treatment_facility", "wind_farm", "zoo",
)  # fmt: skip
OTHER = "Other"  # countries without a region; no region of the metric


@DATASET_REGISTRY.register()
class FMoWWilds(WildsDataset):
    dataset_dir = "fmow_v1.1"
    template = "satellite photo of a {}."  # ensemble: configs/templates/wilds_fmow.txt
    counts = (62, 76_863, 19_915, 22_108)
    metric = "worst_region_accuracy"
    domains = ("Africa", "Americas", "Asia", "Europe", "Oceania", OTHER)

    def label_names(self):
        return CATEGORIES

    def read_rows(self):
        """The number in an image's name is its row among all rows, also those of the unused split "seq"."""
        region_of = dict(read_table(self.dataset_dir, "country_code_mapping.csv", columns=("alpha-3", "region")))
        labels = {name: label for label, name in enumerate(CATEGORIES)}
        self.regions = {}
        columns = ("split", "category", "timestamp", "country_code")
        for row, (split, category, time, country) in enumerate(
            read_table(self.dataset_dir, "rgb_metadata.csv", columns=columns)
        ):
            path = f"rgb_img_{row}.png"
            region = region_of.get(country, OTHER)
            self.regions[path] = region if region in self.domains else OTHER
            yield path, labels[category], split_of(split, utc_year(time))

    def domain_of(self, item):
        return self.domains.index(self.regions[item.path])

    def more_metrics(self, items, outcomes):
        """Returns the accuracy per region in percent, and the lowest one, that of OTHER excepted.

        Args:
            items: the evaluated images.
            outcomes: whether the prediction of each of them is correct.
        """
        hits = {}
        for item, hit in zip(items, outcomes.correct, strict=True):
            hits.setdefault(self.domains[item.domain], []).append(hit)
        accuracies = {name: 100.0 * sum(hits[name]) / len(hits[name]) for name in self.domains if name in hits}
        known = [accuracy for name, accuracy in accuracies.items() if name != OTHER]
        if not known:
            raise ValueError(f"{self.name}: no image is in a known region: check country_code_mapping.csv")
        return {**{f"accuracy_{name.lower()}": value for name, value in accuracies.items()}, self.metric: min(known)}


def utc_year(timestamp):
    """Returns the year of a time such as 2015-12-31T23:30:00Z, in UTC."""
    time = datetime.fromisoformat(timestamp.replace("Z", "+00:00"))
    return (time.astimezone(timezone.utc) if time.tzinfo else time).year


def split_of(split, year):
    """Returns the split of WILDS ("" if in none), given that of FMoW: train, val, test or seq.

    Images until 2012 are in distribution. Out of distribution are val images of 2013 to 2015, test images from 2016.
    """
    if year < 2013:
        return {"train": "train", "val": "id_val", "test": "id_test"}.get(split, "")
    return split if (split, year < 2016) in (("val", True), ("test", False)) else ""
