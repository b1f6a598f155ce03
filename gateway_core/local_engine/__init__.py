"""The embedded engine: llama.cpp's own server in a child process.

A process of its own because the engine cannot live in ours: a C++ call on the main thread is deaf to Ctrl-C, tearing
the server down can hang, a processor without AVX2 kills the process, and a model that does not fit gets it shot by
the kernel. `__main__` is the child, `process` is our side.
"""
