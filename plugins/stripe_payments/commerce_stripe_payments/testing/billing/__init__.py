"""Subscriptions and their invoices, and what time does to them."""
