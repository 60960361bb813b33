"""docs/add-a-store.md works as it stands: its store passes the contract, and its script counts."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

PAGE = Path(__file__).parents[2] / "docs" / "add-a-store.md"
STORE, SUITE, SCRIPT = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)

json_store = ModuleType("json_store")
exec(compile(STORE, f"{PAGE.name}: json_store.py", "exec"), vars(json_store))
sys.modules["json_store"] = json_store
exec(compile(SUITE, f"{PAGE.name}: test_json_store.py", "exec"))  # pytest finds TestJsonStore here


def test_the_script_counts_on_from_where_it_was(tmp_path):
    (tmp_path / "json_store.py").write_text(STORE)
    (tmp_path / "count.py").write_text(SCRIPT)
    command = [sys.executable, "count.py"]
    said = [subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout for _ in range(2)]
    assert said == ["1\n", "2\n"]
