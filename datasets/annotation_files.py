"""Readers of annotation files that come with raw data. Their errors name the file."""

import os


def read_lines(*path):
    """Returns the non-empty lines of a text file, stripped. Raises FileNotFoundError if the file is missing."""
    path = os.path.join(*path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"missing file {path}")
    with open(path, encoding="utf-8") as file:
        return [line.strip() for line in file if line.strip()]


def read_mat(*path):
    """Returns the variables of a MATLAB file. Raises FileNotFoundError or ValueError with the path."""
    from scipy.io import loadmat

    path = os.path.join(*path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"missing file {path}")
    try:
        return loadmat(path)
    except Exception as error:  # loadmat raises many types of errors on a corrupted file
        raise ValueError(f"{path} is not a valid MATLAB file ({error})") from error
