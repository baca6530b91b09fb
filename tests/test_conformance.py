"""Every variant that is installed passes every check of the conformance kit."""

from ganbench.plugins import discover
from ganbench.testing import parametrize


@parametrize(*discover().find("variant", "all"))
def test_variant_conforms(check, subject):
    check(subject)
