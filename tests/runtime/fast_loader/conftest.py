"""The tests start as many worker processes as they ask for, on machines with fewer cores, too."""

import pytest

from dassl.data.fast_loader import random_streams


@pytest.fixture(autouse=True)
def cores(monkeypatch):
    """cores(n) sets the number of available cores."""

    def set_cores(n):
        monkeypatch.setattr(random_streams, "n_cores", lambda: n)

    set_cores(4)
    return set_cores
