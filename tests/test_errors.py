"""Errors whose text is safe to show."""

import pytest

from ifengine.errors import (
    EngineError,
    FieldError,
    NotationError,
    SealError,
    SettingsError,
    StorageFailedError,
    StoreRefusedError,
)


def test_a_field_error_names_place_rule_and_length_and_never_a_value() -> None:
    error = FieldError("PID-7", "is not a date", length=8)
    assert str(error) == "PID-7: is not a date (8 characters)"
    assert (error.path, error.rule, error.length) == ("PID-7", "is not a date", 8)
    assert str(FieldError("PID-7", "is empty")) == "PID-7: is empty"


def test_a_hint_is_kept_apart_from_the_text() -> None:
    error = EngineError("what is wrong", hint="what to do")
    assert (str(error), error.hint) == ("what is wrong", "what to do")
    assert EngineError("alone").hint == ""


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (EngineError, "internal"),
        (StorageFailedError, "storage_failed"),
        (StoreRefusedError, "store_refused"),
        (SealError, "seal"),
        (SettingsError, "settings"),
    ],
)
def test_every_error_has_a_code_for_programs(kind: type[EngineError], code: str) -> None:
    with pytest.raises(EngineError) as caught:
        raise kind("text")
    assert caught.value.code == code


def test_a_notation_error_is_no_engine_error_since_it_may_quote_the_configuration() -> None:
    error = NotationError("no such field", 4, "PID-3")
    assert not isinstance(error, EngineError)
    assert (str(error), error.offset, error.hint) == ("no such field", 4, "PID-3")
