"""`mmkit` as a command that starts at once: a server that has imported it forks for each call, with the caller's own streams.

python -m tests.warm SOCKET        # the server
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path

# the command itself: sends what it was called with, and its three streams; answers with the exit code
CLIENT = """#!{python} -SE
import json, os, socket, sys
with socket.socket(socket.AF_UNIX) as s:
    s.connect({path!r})
    call = json.dumps([sys.argv[1:], os.getcwd(), dict(os.environ)]).encode()
    socket.send_fds(s, [len(call).to_bytes(4, "big")], [0, 1, 2])
    s.sendall(call)
    sys.exit(int(s.recv(4) or b"1"))
"""


def command(folder: Path, path: Path) -> Path:
    """Write the command `mmkit` that calls the server at `path`."""
    script = folder / "mmkit"
    script.write_text(CLIENT.format(python=sys.executable, path=str(path)))
    script.chmod(0o755)
    return script


def serve(path: str) -> None:
    """Answer calls until the process is ended."""
    # what takes commands the longest: torch with what its optimizers import, umap-learn with its compiler, the parts of a report
    import torch._dynamo
    import torch.fx.experimental.symbolic_shapes  # noqa: F401

    import mmkit.workflows.fit
    import mmkit.workflows.report  # noqa: F401
    from mmkit.space.layout import _compiled_once

    _compiled_once()

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while True:
            call, _ = server.accept()
            if os.fork() == 0:
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                server.close()
                os._exit(_answer(call))
            call.close()


def _answer(call: socket.socket) -> int:
    size, streams, _, _ = socket.recv_fds(call, 4, 3)
    text = b""
    while len(text) < int.from_bytes(size, "big"):
        text += call.recv(1 << 16)
    args, folder, environment = json.loads(text)
    for own, given in enumerate(streams):
        os.dup2(given, own)
        os.close(given)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for name, fd, mode in (("stdin", 0, "r"), ("stdout", 1, "w"), ("stderr", 2, "w")):
        setattr(sys, name, os.fdopen(fd, mode, encoding="utf-8", closefd=False))
    from mmkit.cli.app import main

    code = 1
    try:
        code = int(main(args))
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else 1
    finally:
        call.sendall(str(code).encode())
    return code


if __name__ == "__main__":
    serve(sys.argv[1])
