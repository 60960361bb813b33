"""`serve --demo`: the ways of counting side by side, and a page where 100 clients race them.

The in-process ways are opened in the worker that serves the page, below /demo/<mode>; a child process keeps a pair of
workers and a Redis ready for the others, and sends the requests.
"""

from __future__ import annotations

import importlib.util
from typing import Any

from quart import Quart

from quart_counter.errors import ConfigurationError
from quart_counter.extras import install
from quart_counter.lab.demo import page, ways
from quart_counter.lab.demo.stage import Stage
from quart_counter.lab.exhibits.side_by_side import SideBySide
from quart_counter.settings import Settings
from quart_counter.settings.modes import MODES
from quart_counter.web.each_start import each_start


def mount(app: Quart, inner: Any, settings: Settings) -> Any:
    """Return `inner` with the demo in front of it. In the lab's own workers that is the ways of counting alone.

    Raises ConfigurationError when a package is missing.
    """
    urls = {mode: MODES[mode].default_url for mode in ways.IN_PROCESS}
    if settings.lab:
        urls |= {mode: settings.url for mode in ways.IN_REDIS if settings.mode == "redis"}
        return _open(app, SideBySide(inner, urls, sign=False))
    if importlib.util.find_spec("httpx") is None:
        raise ConfigurationError(f"the demo needs the package httpx: run {install('lab')}")
    stage = Stage(page.result_in(app))
    app.register_blueprint(page.blueprint(stage))
    each_start(app, stage.serving)
    app.jinja_env.globals["demo"] = True  # the page links to it
    app.extensions["quart_counter_leaving"].append(stage.leave)
    return page.Watching(_open(app, SideBySide(inner, urls, sign=True)), stage)


def _open(app: Quart, ways_of_counting: SideBySide) -> SideBySide:
    each_start(app, ways_of_counting.serving)
    return ways_of_counting
