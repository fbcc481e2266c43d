"""Why a job cannot start as asked."""


class SetupError(ValueError):
    """The job cannot start as asked; the text says what to change."""
