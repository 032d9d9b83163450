"""A fixture for the tests of the sampling command."""

import pytest

from dataset import files
from solver.sampling import sample
from solver.sampling.command import sample_parser, wanted_size


@pytest.fixture
def enlarge(weights, tmp_path, capsys):
    """Enlarge a folder or file in this process with the test's ``weights``; returns the status, what is told, and the
    results by their names."""

    def run(*flags, data=tmp_path / "in", ckpt=weights):
        words = ["--model", "espcn", "--test_data_dir", data, "--ckpt_path", ckpt, "--sample_dir", tmp_path / "out"]
        args = sample_parser(2).parse_args([*map(str, words), *flags])
        args.size = wanted_size(args)
        status = sample.run(args)
        for held in [*files._held]:  # which the end of a process does
            files.unlock(held)
        folder = tmp_path / "out" / ckpt.stem / (data.stem if data.is_file() else data.name) / "x2"
        made = {str(f.relative_to(folder / "SR")): f for f in sorted((folder / "SR").rglob("*")) if f.is_file()}
        return status, capsys.readouterr().out, made

    return run
