"""The annotation study: what minutes of an annotator buy, and which settings make most of them."""
