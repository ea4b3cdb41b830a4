"""`make bench`: Plinth against its baselines, as ratios taken in one interleaved run."""
