"""`plinth new`: the files of a resource, from templates. The written files are maintained by hand afterwards."""
