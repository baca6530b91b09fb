"""ganbench: benchmark and evaluate GANs. The public API is what `__init__.pyi` lists, all that a plugin may use."""

import lazy_loader

__version__ = "0.2.0"

NUMBERS = 3
"""What a seed gives and is charged: goes up by one when a change of training, toolbox, data or sampling alters it."""

# Importing torch takes seconds: a public name is imported when it is first used, so `ganbench --help` does not wait.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
