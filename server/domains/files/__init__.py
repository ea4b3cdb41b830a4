"""Files: the assets of tenants, their bytes, and how they come and go."""
