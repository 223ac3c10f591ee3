"""An RTSP server for tests, on Debian's GStreamer: run by the system's Python, which has its bindings.

    /usr/bin/python3 rtsp_server.py /NAME='LAUNCH LINE' …

Prints the port it listens on (127.0.0.1), then obeys lines on stdin: `kick` cuts every client off and answers
`kicked N`; the end of stdin ends it. Each client gets its own media, from the first frame.
"""

# ruff: noqa: E402 - gi's versions are chosen before its modules are imported; stdout is the answer
from __future__ import annotations

import sys
from typing import Any

import gi  # type: ignore[import-not-found, unused-ignore]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-not-found, unused-ignore]


def main(mounts: list[str]) -> None:
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service("0")
    points = server.get_mount_points()
    for mount in mounts:
        path, _, launch = mount.partition("=")
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(f"( {launch} )")
        factory.set_shared(False)
        points.add_factory(path, factory)
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    loop = GLib.MainLoop()
    GLib.io_add_watch(sys.stdin, GLib.IO_IN | GLib.IO_HUP, obey, server, loop)
    loop.run()


def obey(_: object, __: object, server: Any, loop: Any) -> bool:
    line = sys.stdin.readline()
    if not line:
        loop.quit()
        return False
    removed: list[object] = []

    def remove(_: object, client: object) -> object:
        removed.append(client)
        return GstRtspServer.RTSPFilterResult.REMOVE

    server.client_filter(remove)
    print(f"kicked {len(removed)}", flush=True)
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
