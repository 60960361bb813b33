"""Every store through one contract, and each backend's difference in a file of its own."""

import pytest

pytest.register_assert_rewrite("stores.contract")
