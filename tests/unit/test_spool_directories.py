"""Spool directories, noted in the home."""

from rundial.config import home
from rundial.spool_directories import register, registered


def test_spool_directories_are_remembered(tmp_path):
    """A directory is noted in the home once, and forgotten when it is gone."""
    (tmp_path / "spool").mkdir()
    register(tmp_path / "spool")
    register(tmp_path / "spool")
    register(tmp_path / "gone")
    assert registered() == [tmp_path / "spool"]
    assert len(list((home() / "spools").iterdir())) == 2
