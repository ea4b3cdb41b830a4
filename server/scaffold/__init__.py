"""`plinth new`: the files of a resource, from templates. What it writes belongs to the writer from then on."""
