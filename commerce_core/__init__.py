"""Headless commerce."""
