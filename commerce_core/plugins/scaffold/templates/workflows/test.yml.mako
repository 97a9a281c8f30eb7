name: test

on: [push, pull_request]

jobs:
  test:
    runs-on: ubuntu-latest
    strategy:
      matrix:
        python: ["3.11", "3.13"]
    steps:
      - uses: actions/checkout@v4
      - uses: actions/setup-python@v5
        with:
          python-version: ${"$"}{{ matrix.python }}
      - run: pip install -e '.[dev]'
      - run: ruff format --check . && ruff check . && mypy
      - run: pytest
