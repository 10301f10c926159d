"""DVC's ``push``, ``fetch`` and ``pull``, trusting no list of an interrupted one: ``python -m diva.versions.transfer``.

DVC notes what is to be transferred stage by stage, and keeps the notes until the transfer is over. Where one was killed
among them, the next takes them for whole: it moves the stages that are noted, says that all is done, and the rest of a
version is nowhere but here. So the notes go first; making them again takes a fraction of a second.
"""

import sys

from diva.versions import fork_client


def transfer(arguments: list[str]) -> int:
    """Exit status of the command."""
    from dvc.cli import main  # type: ignore[import-untyped]
    from dvc.repo import Repo  # type: ignore[import-untyped]

    with Repo() as repo:
        repo.drop_data_index()
    return int(main(arguments))


if __name__ == "__main__":
    fork_client.run_elsewhere()
    sys.exit(transfer(sys.argv[1:]))
