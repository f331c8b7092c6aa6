"""The one tree of errors that this platform raises on purpose.

    Co2Error                      exit code of the `co2` command
    ├── SettingsError             2   a setting, option or home directory is unusable
    ├── SourceError               3   Energi Data Service failed us; the tick goes on without
    │   ├── SourceUnreachable         no answer: connection, time-out
    │   ├── SourceRefused             an answer, but an error status (403, 404, 429, 500)
    │   └── SourceMalformed           an answer that is not what the dataset promises
    ├── WarehouseError            4   DuckDB under CO2_HOME
    │   ├── WarehouseBusy             another process holds the writer's lock or the file
    │   ├── WarehouseUnwritable       disk full, folder read-only
    │   └── WarehouseInvalid          rows or a schema that must not be stored
    ├── RecordingError            5   a recording in CO2_RECORDED_DIR, or a fault plan
    ├── ModelError                6   training, loading or forecasting is impossible
    │   ├── ArtifactDamaged           the files are not those that were registered
    │   └── InputsMissing             too little history to train on or forecast from
    ├── WindowDoesNotFit          7   a window of hours was asked for that cannot be had
    └── Co2ApiError               1   in `client`: the API refused a request
        (Co2ApiUnreachable beside it: it did not answer)

Every error says what failed, where, what was found, what was expected and the next step.
"""

from __future__ import annotations


class Co2Error(Exception):
    """An error a person can act on; `str()` of it is the whole message.

    Args:
        what: what failed, one clause.
        where: dataset, field, row, file or setting.
        found: the offending value, as found.
        expected: what would have been right.
        next_step: what the reader can do now.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        found: object = None,
        expected: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.what = what
        self.where = where
        self.found = None if found is None else str(found)
        self.expected = expected
        self.next_step = next_step
        super().__init__(self._message())

    def _message(self) -> str:
        parts = [
            self.what,
            *(
                f"{label}: {value}"
                for label, value in (
                    ("where", self.where),
                    ("found", self.found),
                    ("expected", self.expected),
                    ("next", self.next_step),
                )
                if value is not None
            ),
        ]
        return "; ".join(parts)


class SettingsError(Co2Error):
    """A setting, option or home directory is unusable."""

    exit_code = 2


class SourceError(Co2Error):
    """A dataset could not be read; names dataset, field and row where there is one.

    Args:
        dataset: name at Energi Data Service, such as `PowerSystemRightNow`.
        field: name of the field in the reply, or None when the reply as a whole failed.
        row: index of the record in the reply, counted from 0, or None.
    """

    exit_code = 3

    def __init__(
        self,
        what: str,
        *,
        dataset: str,
        field: str | None = None,
        row: int | None = None,
        found: object = None,
        expected: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.dataset = dataset
        self.field = field
        self.row = row
        where = f"dataset {dataset}"
        if field is not None:
            where += f", field {field}"
        if row is not None:
            where += f", row {row}"
        super().__init__(what, where=where, found=found, expected=expected, next_step=next_step)


class SourceUnreachable(SourceError):
    """No answer came: no connection, or none in time."""


class SourceRefused(SourceError):
    """An answer came with an error status; `status_code` holds it.

    `retry_after_s` is what the server asked us to wait, when it did.
    """

    def __init__(
        self,
        what: str,
        *,
        dataset: str,
        status_code: int,
        retry_after_s: float | None = None,
        found: object = None,
        expected: str | None = None,
        next_step: str | None = None,
    ) -> None:
        self.status_code = status_code
        self.retry_after_s = retry_after_s
        super().__init__(what, dataset=dataset, found=found, expected=expected, next_step=next_step)


class SourceMalformed(SourceError):
    """An answer came that breaks the dataset's contract; nothing of it is stored."""


class WarehouseError(Co2Error):
    """DuckDB under `CO2_HOME` cannot be used."""

    exit_code = 4


class WarehouseBusy(WarehouseError):
    """Another process holds the writer's lock, or the head file itself."""


class WarehouseUnwritable(WarehouseError):
    """The disk is full or the folder is read-only; stored data are as they were."""


class WarehouseInvalid(WarehouseError):
    """Rows or a schema that must not be stored; the transaction was rolled back."""


class RecordingError(Co2Error):
    """A recording or a fault plan for the recorded server is unusable."""

    exit_code = 5


class ModelError(Co2Error):
    """Training, loading or forecasting is impossible."""

    exit_code = 6


class ArtifactDamaged(ModelError):
    """The files of a model version are not those that were registered."""


class InputsMissing(ModelError):
    """There is too little history to train on or to forecast from."""


class WindowDoesNotFit(Co2Error):
    """A window of hours was asked for that the forecast, or the request itself, has no room for."""

    exit_code = 7
