"""The tables of the plugin `stripe`."""

REQUIRES = {"core": "0023"}
