"""Every variant that is installed passes every check of the conformance kit."""

from ganbench.runs.registry import discover
from ganbench.testing.kit import parametrize


@parametrize(*discover().find("variant", "all"))
def test_variant_conforms(check, subject):
    check(subject)
