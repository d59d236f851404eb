"""A file to be read."""

import pytest


@pytest.fixture
def file(tmp_path):
    """Writes `m.bin`."""

    def make(raw: bytes):
        path = tmp_path / "m.bin"
        path.write_bytes(raw)
        return path

    return make
