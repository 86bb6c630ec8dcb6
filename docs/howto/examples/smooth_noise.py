"""Smooth exploration noise: a first-order autoregressive process of constant variance."""

import math
from typing import Any

import numpy as np

_CORRELATION = 0.9  # between the noise of two consecutive actions


def smooth(memory: np.ndarray, normal: np.ndarray, settings: Any) -> tuple[np.ndarray, np.ndarray]:
    """Correlated noise, x' = 0.9 x + sqrt(1 - 0.9^2) N(0, sigma^2)."""
    del settings  # `exploration`, if the noise has parameters, such as theta
    memory = _CORRELATION * memory + math.sqrt(1 - _CORRELATION**2) * normal
    return memory, memory
