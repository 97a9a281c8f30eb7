[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "commerce-${name}"
version = "0.1.0"
description = "${title}, a plugin for commerce-core"
readme = "README.md"
requires-python = ">=3.11"
# Up to the next major version, which may change the contract; see its docs/plugins/compatibility.md.
dependencies = ["commerce-core>=${version},<${next_major}"]

[project.optional-dependencies]
dev = ["commerce-core[embedded,test]", "mypy>=1.18", "ruff>=0.14"]

[project.entry-points."commerce.plugins"]
${name} = "commerce_${name}:plugin"

[tool.setuptools.packages.find]
include = ["commerce_${name}*"]

[tool.setuptools.package-data]
commerce_${name} = ["py.typed"]

[tool.pytest.ini_options]
testpaths = ["tests"]
addopts = "-p commerce_core.testing --strict-markers"
filterwarnings = [
    "error",
    # Pyramid and WebOb still use what Python is about to drop.
    "ignore:pkg_resources is deprecated",
    "ignore:Deprecated call to .pkg_resources.declare_namespace:DeprecationWarning",
    "ignore:'cgi' is deprecated:DeprecationWarning",
]

[tool.ruff]
line-length = 120
target-version = "py311"

[tool.ruff.lint]
select = ["E", "F", "W", "I", "B", "UP", "SIM", "C4", "RUF", "PT", "DTZ", "S608"]

[tool.ruff.lint.isort]
known-first-party = ["commerce_${name}"]

[tool.mypy]
strict = true
files = ["commerce_${name}", "tests"]

[[tool.mypy.overrides]]
module = ["pyramid.*", "webtest.*"]
ignore_missing_imports = true
