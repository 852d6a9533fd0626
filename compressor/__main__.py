"""``python -m compressor``: the command line, as launchers such as ``torchrun`` start it."""


def run() -> None:
    from compressor.cli import main

    main()


if __name__ == "__main__":
    run()
