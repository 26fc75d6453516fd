"""Additions to an initrd: the kernel unpacks archives that follow each other, one over the other."""


def cpio(files):
    """An archive (format newc) of files: (name, mode, bytes)."""
    archive = b""
    for name, mode, data in [*files, ("TRAILER!!!", 0, b"")]:
        head = b"070701" + b"".join(b"%08x" % f for f in (1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)) + name.encode() + b"\0"
        archive += head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
    return archive
