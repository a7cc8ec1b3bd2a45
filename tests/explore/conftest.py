"""A browser for the tests of a file."""

import pytest

from explore.browser import Browser


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    one = Browser(tmp_path_factory.mktemp("profile"))
    yield one
    one.close()
