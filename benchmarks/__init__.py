"""How fast it is. `make bench` runs everything and prints ratios; see README.md here."""
