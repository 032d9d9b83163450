import json

from results import tables


def test_ablation_end_to_end(command, training_file, data, tmp_path):
    out = tmp_path / "out"
    arguments = (
        "results/ablation.py",
        "--test_data_dir",
        data / "Set5",
        "--ckpt_dir",
        tmp_path / "runs",
        "--out",
        out,
        "--train_data_path",
        training_file,
        "--val_data_dir",
        data / "Sample",
        "--batch_size",
        1,
        "--patch_size",
        8,
        "--print_interval",
        1,
        "--recipe",
        "modern",
        "--max_steps",
    )
    done = command(*arguments, 2, OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    content = json.loads((out / "ablation.json").read_text())
    assert [row["network"] for row in content["networks"]] == ["SN", "HN", "IEEB", "IEEB+RB", "LESRCNN"]
    assert {row["steps"] for row in content["networks"]} == {2} and content["budget"]["max_steps"] == 2
    assert len({row["sha256"] for row in content["networks"]}) == 5
    logs = sorted((out / "curves").glob("*.csv"))
    assert len(logs) == 5 and all(len(log.read_text().splitlines()) == 3 for log in logs)
    table = tables.ablation(out / "ablation.json")
    assert all(None not in row.cells for row in table.rows) and "2 steps" in table.notes[0]

    # Run again, it trains nothing.
    (out / "ablation.json").unlink()
    done = command(*arguments, 2, OMP_NUM_THREADS="1")
    assert done.returncode == 0 and "step" not in done.stdout
    assert json.loads((out / "ablation.json").read_text())["networks"] == content["networks"]


def test_what_it_sets_itself_is_refused(command, data):
    done = command("results/ablation.py", "--test_data_dir", data / "Set5", "--model", "lesrcnn")
    assert done.returncode == 2 and "--model: is set by this command" in done.stderr
    done = command("results/ablation.py", "--test_data_dir", data / "nothing")
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    done = command("results/ablation.py", "--test_data_dir", data / "Set5", "--num_gpu", 2)
    assert done.returncode == 2 and "trains on one GPU" in done.stderr
