"""Memory that the daemon keeps for each page that guests offer, with all that belongs to index and pool; peer: KSM's 64 bytes for each page that
it scans (struct ksm_rmap_item of Linux 6.x; its stable nodes come on top), a constant.

bytes_per_scanned_page      guests that have the given part of their pages in common
ns_per_offer                CPU time of the broker for each, contents copied included
SHARED (0,10,50,90 percent), GUESTS (2,4,8), PAGES (262144 each).
"""
import os

from runner import Report, column, run

KSM_BYTES = 64
SHARED = os.environ.get("SHARED", "0,10,50,90").split(",")
GUESTS = os.environ.get("GUESTS", "2,4,8").split(",")
PAGES = int(os.environ.get("PAGES", "262144"))


def main():
    report = Report("dedup-meta")
    for guests in GUESTS:
        for shared in SHARED:
            samples = run("meta", guests=guests, pages=PAGES, shared=shared)
            report.add("bytes_per_scanned_page", "B", column(samples, "bytes_per_page"), "KSM's rmap item", [KSM_BYTES],
                       guests=int(guests), shared_percent=int(shared))
            report.add("ns_per_offer", "ns", column(samples, "ns_per_offer"), guests=int(guests), shared_percent=int(shared))


main()
