"""A sweep whose datasets are all missing ends before it writes anything."""

from tests.user_errors import assert_user_error
from tools import sweep


def test_it_names_every_dataset_and_leaves_no_folder(tmp_path, capsys):
    output = tmp_path / "new"
    options = ["--methods", "CLIPFit", "--seeds", "1", "--root", str(tmp_path / "nowhere"), "--output", str(output)]
    code = sweep.main(["base2new", *options, "--datasets", "dtd", "eurosat"])
    facts = ("dtd is not in", "eurosat is not in", str(tmp_path / "nowhere"), "tools/prepare_data.py dtd")
    assert_user_error((code, capsys.readouterr().err), *facts)
    assert not output.exists()
