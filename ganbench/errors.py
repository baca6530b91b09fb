"""Errors that a user can mend, told in one sentence."""


class UserError(Exception):
    """A mistake in the request; the command line prints it without a traceback and exits with 2."""


class DiskError(UserError):
    """The disk refused a write (full, read-only, gone); nothing that stood there before is harmed."""
