"""Results of long trainings are kept by name, and only of exactly what they were measured of."""

from benchmarks.measured import Measured


def test_a_result_is_of_exactly_what_it_was_measured_of(tmp_path):
    kept = Measured(tmp_path / "kept.json")
    assert kept.get("base", "600 steps") is None
    kept.put("base", "600 steps", {"ccc": 0.5})
    kept.put("other", "600 steps", {"ccc": 0.25})
    again = Measured(tmp_path / "kept.json")
    assert again.get("base", "600 steps") == {"ccc": 0.5}
    assert again.get("base", "700 steps") is None
    again.put("base", "700 steps", {"ccc": 0.75})
    assert again.get("base", "600 steps") is None
    assert again.get("other", "600 steps") == {"ccc": 0.25}
