import ctypes
import subprocess
from pathlib import Path

import pytest

from edgekit import toolchain
from edgekit.errors import ConfigError
from edgekit.toolchain import compile_host, find_host_compiler, find_zig


def write(tmp_path: Path, text: str) -> Path:
    source = tmp_path / "source.c"
    source.write_text(text)
    return source


def test_shared_library_with_defines_and_headers(tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "seven.h").write_text("#define SEVEN 7\n")
    source = write(
        tmp_path, '#include "seven.h"\nint value(void);\nint value(void) { return SEVEN * FACTOR; }\n'
    )
    library = compile_host([source], tmp_path / "lib.so", {"FACTOR": "6"}, include=[tmp_path / "include"])
    assert ctypes.CDLL(str(library)).value() == 42


def test_warnings_are_errors_and_shown(tmp_path: Path) -> None:
    source = write(tmp_path, "short narrow(int x);\nshort narrow(int x) { return x; }\n")
    with pytest.raises(ConfigError) as caught:
        compile_host([source], tmp_path / "lib.so")
    assert "source.c:2" in caught.value.what
    assert "conversion" in caught.value.what
    assert caught.value.exit_code == 2


def test_sanitized_program_stops_at_undefined_behaviour(tmp_path: Path) -> None:
    source = write(tmp_path, "int main(int n, char **v) { (void)v; return (2147483647 + n) != 0; }\n")
    plain = compile_host([source], tmp_path / "plain", shared=False)
    checked = compile_host([source], tmp_path / "checked", shared=False, sanitize=True)
    assert subprocess.run([plain], check=False, capture_output=True).returncode == 1
    found = subprocess.run([checked], check=False, capture_output=True, text=True)
    assert "overflow" in found.stderr
    assert found.returncode != 0


def test_cc_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -m32")
    with pytest.raises(ConfigError, match="no-such-compiler"):
        find_host_compiler()
    monkeypatch.setenv("CC", "sh -x")
    assert find_host_compiler() == ["sh", "-x"]


def test_zig_compiles_for_the_host_where_nothing_else_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(toolchain.shutil, "which", lambda _: None)
    assert find_host_compiler() == [*(find_zig() or []), "cc"]
    source = write(tmp_path, "int value(void);\nint value(void) { return 5; }\n")
    assert ctypes.CDLL(str(compile_host([source], tmp_path / "lib.so"))).value() == 5
    with pytest.raises(ConfigError, match="sanitizer"):
        compile_host([source], tmp_path / "lib.so", sanitize=True)
    monkeypatch.setattr(toolchain, "find_zig", lambda: None)
    with pytest.raises(ConfigError) as caught:
        find_host_compiler()
    assert "pip install ziglang" in caught.value.hint


def test_cache_folder_falls_back_to_a_private_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(toolchain.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    folder = toolchain.cache_folder.__wrapped__()
    assert folder.is_dir()
    assert folder.stat().st_mode & 0o077 == 0
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert toolchain.cache_folder.__wrapped__() == tmp_path / "cache" / "edgekit"
