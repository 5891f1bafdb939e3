"""Names of numbers of training images per class. In config keys and records, "all" is the number -1."""

from .recipe import ALL


def shots_name(shots: int) -> str:
    """Returns "16" for 16 and "all" for -1."""
    return ALL if shots < 0 else str(shots)


def shots_text(*columns: str) -> str:
    """Returns e.g. "1 shot", "16 shots", "1, 2, 4 shots", "all images", "unknown shots"."""
    if columns in (("all",), ("?",)):
        return {"all": "all images", "?": "unknown shots"}[columns[0]]
    return f"{', '.join(columns)} {'shot' if columns == ('1',) else 'shots'}"
