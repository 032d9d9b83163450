import json


def test_settings_are_compared_and_go_on(command, training_file, data, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "training.md").write_text("before\n<!-- comparisons:begin -->\n<!-- comparisons:end -->\nafter\n")
    arguments = (
        "results/compare_training.py",
        "--train_data_path",
        training_file,
        "--ckpt_dir",
        tmp_path / "runs",
        "--out",
        out,
        "--val_data_dir",
        data / "Sample",
        "--patch_size",
        8,
        "--batch_size",
        1,
        "--max_steps",
        2,
        "--print_interval",
        1,
        "--precision",
        "fp32",
        "--only",
    )
    done = command(*arguments, "modern", "Adam, 8e-4", OMP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    runs = json.loads((out / "comparisons.json").read_text())
    assert list(runs) == ["modern", "Adam, 8e-4"] and all(list(run["psnr"]) == ["1", "2"] for run in runs.values())
    assert runs["modern"]["psnr"] != runs["Adam, 8e-4"]["psnr"]
    modern, adam = (runs[name]["psnr"]["2"] for name in runs)
    page = (out / "training.md").read_text()
    assert page.startswith("before\n") and page.endswith("after\n")
    assert (
        f"| Adam, 8e-4 | `--optimizer Adam --lr 8e-4` | {runs['Adam, 8e-4']['psnr']['1']:.2f} | {adam:.2f} "
        f"| {adam - modern:+.2f} |" in page
    )

    # What has been run is not run again, and what is new comes beside it.
    done = command(*arguments, "modern", "MSE", OMP_NUM_THREADS="1")
    assert done.returncode == 0 and done.stdout.count("done: 2 steps") == 1
    assert list(json.loads((out / "comparisons.json").read_text())) == ["modern", "Adam, 8e-4", "MSE"]


def test_nothing_to_compare_with_is_one_line(command, tmp_path):
    done = command("results/compare_training.py", "--out", tmp_path, "--only", "MSE")
    assert done.returncode == 2 and "--only modern first" in done.stderr and len(done.stderr.splitlines()) == 1
    (tmp_path / "comparisons.json").write_text("no")
    done = command("results/compare_training.py", "--out", tmp_path, "--only", "MSE")
    assert done.returncode == 2 and "comparisons.json" in done.stderr and len(done.stderr.splitlines()) == 1
