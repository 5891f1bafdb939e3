"""Readers of annotation files that come with raw data. Their errors name the file."""

import csv
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


def read_table(*path, columns):
    """Yields the values of `columns`, a tuple of strings, for each row of a CSV file with a header.

    Raises FileNotFoundError if the file is missing, ValueError if it has no such columns or a row is too short.
    """
    path = os.path.join(*path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"missing file {path}")
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file)
        header = next(reader, [])
        missing = [name for name in columns if name not in header]
        if missing:
            raise ValueError(f"{path}: missing column {missing[0]!r}, got {', '.join(header)[:200]!r}")
        indices = [header.index(name) for name in columns]
        for row in filter(None, reader):
            if len(row) <= max(indices):
                raise ValueError(f"{path}, line {reader.line_num}: {len(row)} columns instead of {len(header)}")
            yield tuple(row[index] for index in indices)
