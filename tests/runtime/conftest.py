"""A folder of toy images, written once per test session."""

import pytest

from .toy import write_images


@pytest.fixture(scope="session")
def toy_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_images(str(root))
    return root
