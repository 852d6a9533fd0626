"""``python -m compressor``: the command line, as launchers such as ``torchrun`` start it."""

from compressor.cli import main

if __name__ == "__main__":
    main()
