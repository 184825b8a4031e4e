import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from codegen import toolchain
from codegen.toolchain import BOARD, compile_program, elf_to_binary, find_cross_compiler, linker_script
from edgekit.errors import ConfigError
from edgekit.targets import load_target

TARGET = load_target("hearing-aid")
KERNELS = BOARD.parent / "kernels"
PROGRAM = """
#include "board.h"
#include "sizes.h"
#include <string.h>
int main(void);
static int16_t block[SIZE];
const uint8_t edgekit_model_data[] = {1, 2, 3, 4};
extern const uint8_t edgekit_model_data[];
int64_t divide(int64_t a, int64_t b);
int64_t divide(int64_t a, int64_t b) { return a / b; }
int main(void)
{
    size_t n = board_read_audio(block, SIZE);
    int64_t q;
    memcpy(&q, block, sizeof q);
    return (int)divide(q, (int64_t)n + edgekit_model_data[n & 3u]);
}
"""


def write(folder: Path, size: int = 16, program: str = PROGRAM) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "sizes.h").write_text(f"#define SIZE {size}\n")
    (folder / "program.c").write_text(program)
    return folder


def build(folder: Path, target=TARGET) -> Path:
    sources = [folder / "program.c", BOARD / "board_sim.c"]
    return compile_program(sources, [folder], target, folder / "program.elf")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(write(tmp_path_factory.mktemp("built")))


def test_same_sources_give_the_same_bytes_anywhere(built: Path, tmp_path: Path) -> None:
    other = build(write(tmp_path / "a much longer folder name"))
    assert other.read_bytes() == built.read_bytes()
    assert (
        elf_to_binary(other, tmp_path / "a.bin").read_bytes()
        == elf_to_binary(built, tmp_path / "b.bin").read_bytes()
    )


def test_elf_has_debug_information_and_no_absolute_path(built: Path) -> None:
    content = built.read_bytes()
    for path in (built.parent, BOARD, Path(toolchain.__file__).parents[1], Path.home()):
        assert str(path).encode() not in content
    with built.open("rb") as file:
        assert ELFFile(file).has_dwarf_info()


def test_binary_is_the_flash_content(built: Path, tmp_path: Path) -> None:
    image = elf_to_binary(built, tmp_path / "image.bin").read_bytes()
    memory = TARGET.memory
    assert int.from_bytes(image[:4], "little") == memory.ram_origin + memory.stack_bytes
    with built.open("rb") as file:
        elf = ELFFile(file)
        entry = elf["e_entry"]
        model = elf.get_section_by_name(".model")
        offset = model["sh_addr"] - memory.flash_origin
    assert int.from_bytes(image[4:8], "little") == entry
    assert image[offset : offset + 4] == bytes([1, 2, 3, 4])


def test_memories_of_the_target_are_used(built: Path) -> None:
    script = linker_script(TARGET)
    assert "@" not in script
    with built.open("rb") as file:
        sections = {section.name: section["sh_addr"] for section in ELFFile(file).iter_sections()}
    assert sections[".text"] == TARGET.memory.flash_origin
    assert sections[".bss"] >= TARGET.memory.ram_origin + TARGET.memory.stack_bytes


def test_what_does_not_fit_beside_the_stack_is_refused(tmp_path: Path) -> None:
    free_samples = (TARGET.memory.ram_bytes - TARGET.memory.stack_bytes) // 2
    build(write(tmp_path, free_samples))
    with pytest.raises(ConfigError, match="RAM"):
        build(write(tmp_path, free_samples + 1))


def test_dsp_extension_follows_the_target(tmp_path: Path) -> None:
    check = (
        '#ifndef __ARM_FEATURE_DSP\n#error "no DSP"\n#endif\nint main(void);\nint main(void) { return 0; }\n'
    )
    build(write(tmp_path, program=check))
    without = replace(TARGET, core=replace(TARGET.core, dsp=False))
    with pytest.raises(ConfigError, match="no DSP"):
        build(tmp_path, without)


def test_compiler_errors_are_shown(tmp_path: Path) -> None:
    write(tmp_path, program="int main(void);\nint main(void) { unsigned int x = -1; return (int)x; }\n")
    with pytest.raises(ConfigError) as caught:
        build(tmp_path)
    assert "program.c:2" in caught.value.what
    assert "sign" in caught.value.what


def test_missing_cross_compiler_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain, "find_zig", lambda: None)
    with pytest.raises(ConfigError) as caught:
        find_cross_compiler()
    assert "pip install ziglang" in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")
def test_gcc_compiles_what_is_written_for_helium(tmp_path: Path) -> None:
    vectors = [path for path in KERNELS.glob("ek_*.c") if "ek_mve.h" in path.read_text()]
    core = ["-mcpu=cortex-m55", "-mthumb", "-mfloat-abi=hard", "-O2", "-ffreestanding", "-c"]
    for source in [*vectors, BOARD / "board_semihosting.c", BOARD / "startup.c"]:
        toolchain.run_compiler(
            [
                "arm-none-eabi-gcc",
                *toolchain.STRICT_FLAGS,
                *core,
                *(f"-I{folder}" for folder in (KERNELS, BOARD)),
                str(source),
                "-o",
                str(tmp_path / "o"),
            ]
        )
    assert len(vectors) > 6


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a host compiler")
def test_board_sources_are_strict_c99_for_other_compilers_too(tmp_path: Path) -> None:
    for name in ("memory.c", "board_sim.c", "startup.c"):
        toolchain.run_compiler(
            [
                "cc",
                *toolchain.STRICT_FLAGS,
                "-ffreestanding",
                "-c",
                str(BOARD / name),
                "-o",
                str(tmp_path / "o"),
            ]
        )
