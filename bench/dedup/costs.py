"""What the kernel keeps for merged memory, at this moment: differences of two moments are what merging has cost.

Slab caches are counted by their objects. Some are merged with others of the same size (/sys/kernel/slab has links then); those are
counted as one. Page tables are those of the VMMs, and those of KVM for guests, which the whole host has in common.
"""
import pathlib

SLAB = pathlib.Path("/sys/kernel/slab")
CACHES = ("vm_area_struct", "maple_node", "anon_vma", "anon_vma_chain", "ksm_rmap_item", "ksm_stable_node", "ksm_mm_slot")


def meminfo():
    lines = pathlib.Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return {name: int(value.split()[0]) << 10 for name, _, value in (line.partition(":") for line in lines)}


def slab_bytes(names=CACHES):
    caches = {(SLAB / name).resolve() for name in names if (SLAB / name).exists()}

    def read(cache, name):
        return int((cache / name).read_text(encoding="ascii").split()[0])

    return sum(read(cache, "objects") * read(cache, "slab_size") for cache in caches)


def status_bytes(pid, name):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith(name))


def anonymous_bytes(pid):
    return status_bytes(pid, "RssAnon")


def page_table_bytes(pids):
    return meminfo()["SecPageTables"] + sum(status_bytes(pid, "VmPTE") for pid in pids)


def kernel_bytes(pids):
    return {"slab": slab_bytes(), "page_tables": page_table_bytes(pids)}
