"""How a command is started: in the host's own files, in a container, or bare.

A runtime turns an image and a job into a plan: plain data, that the supervisor carries out without
knowing of runtimes. Adding one is adding a file here and a line in `runtimes.choose`.
"""
