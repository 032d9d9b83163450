"""What tests/README.md promises has the test that it names."""

import re
from pathlib import Path

HERE = Path(__file__).parent


def test_each_promise_has_its_test():
    promises = [line for line in (HERE / "README.md").read_text(encoding="utf-8").splitlines() if line.startswith("- ")]
    assert len(promises) > 30
    for promise in promises:
        named = re.findall(r"`(\S+\.py)::(\w+)`", promise)
        assert named, promise
        for file, test in named:
            assert f"\ndef {test}(" in (HERE / file).read_text(encoding="utf-8"), f"{file}::{test}"
