"""A race as one page that people can share: a single file without a network, a build step or a need for JavaScript.

    Path("report.html").write_text(page(rows), encoding="utf-8")

A row is whatever has a `document()` (the JSON contract) and `operations`; `owners` ({index of the operation: process
id}) is used where it has them. The rooms, from the data to the page:

    looks     what it looks like, also where the row does not say
    calls     the operations, with times from the first call on and a letter for each server process
    grid      each number a cell: once, more than once, never
    lanes     the calls around the witness
    plots     how long each took, and how many were under way
    words     what is said of it in sentences
    setting   where it ran, and the command to repeat it
    page      puts them into report.html, with its styles and report.js inside
"""

from quart_counter.lab.html.page import page

__all__ = ["page"]
