"""What a further service costs: copies of the pages are stamped out, and the stack that serves them all is measured."""
