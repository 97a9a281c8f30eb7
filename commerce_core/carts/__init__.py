"""Carts: what somebody means to buy, at what price, and how it becomes theirs when they sign in."""
