"""The rules about single values, asked of the core: one bound and one message for each setting."""

from __future__ import annotations

from typing import Any

import numpy as np

from nextlong_rs import _nextlong

__all__ = ["checked"]


def checked(setting: str, value: Any, name: str | None = None) -> Any:
    """Check a value by the rule of a setting.

    Args:
        setting: The setting, or the argument of a call, that has the rule.
        value: What the caller gave.
        name: What the caller calls the setting. Default: `setting`.

    Returns:
        The value; numbers of numpy as Python's.

    Raises:
        ConfigError: A value that the setting does not take; names the setting, the value and what
            was expected.
    """
    if isinstance(value, np.generic):
        value = value.item()
    _nextlong.check_setting(setting, name or setting, value)
    return value
