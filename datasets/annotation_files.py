"""Reading the annotation files of raw data, with errors that name the file."""

import os


def read_lines(*path):
    """Stripped lines of a text file that are not empty; FileNotFoundError naming the file."""
    path = os.path.join(*path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no {path}")
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def read_mat(*path):
    """Variables of a MATLAB file; FileNotFoundError or ValueError naming the file."""
    from scipy.io import loadmat

    path = os.path.join(*path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no {path}")
    try:
        return loadmat(path)
    except Exception as error:  # a broken file can fail in any way
        raise ValueError(f"{path} is not a MATLAB file ({error})") from error
