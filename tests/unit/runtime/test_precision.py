"""The number format of a machine."""

import pytest

from charaloom.errors import CharaloomError
from charaloom.runtime import precision


def test_fp16_is_for_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "gpu_here", lambda: False)
    formats = [precision.resolved_precision(setting) for setting in ("auto", "bf16", "fp32")]
    assert formats == ["fp32", "bf16", "fp32"]
    with pytest.raises(CharaloomError, match="precision: fp16 needs an NVIDIA GPU"):
        precision.resolved_precision("fp16")
