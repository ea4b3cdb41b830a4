"""The client for asyncio: the same as for threads, with `await`."""
