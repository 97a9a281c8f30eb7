"""Files of products and stock."""
