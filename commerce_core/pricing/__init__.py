"""Pricing: what a basket costs, stage by stage, and why."""
