#!/usr/bin/python3
"""virt-manager as an admin uses it, on a screen that nobody sees: what its windows say and what its buttons do is gone through by
the accessibility tree, as a screen reader would, and whether it is so is asked of the daemon by virsh.

    virt_manager_session.py URI KERNEL DISK PICTURES

URI is the daemon's; it has the guests "web", which runs and prints at its serial console, and "mail", which is off. KERNEL and DISK become the guest
"wizard". Pictures of the windows are left in the directory PICTURES. Expects a display and a session bus of its own. The last line on standard error says what failed.
"""
import os
import subprocess
import sys
import time

import gi

gi.require_version("Atspi", "2.0")
gi.require_version("Gdk", "3.0")
gi.require_version("Gtk", "3.0")
from gi.repository import Atspi, Gdk, GLib, Gtk  # noqa: E402

PATIENCE = 15  # seconds for one thing to happen

uri, kernel, disk, pictures = sys.argv[1:5]


class Failure(Exception):
    """What is not as it should be, in a sentence."""


# --- waiting ---


def await_it(what, attempt):
    """Until attempt() returns something; elements that vanish while they are looked at are looked for again."""
    limit = time.monotonic() + PATIENCE
    while True:
        try:
            result = attempt()
        except GLib.Error:
            result = None
        if result:
            return result
        if time.monotonic() > limit:
            raise Failure(f"never: {what}")
        time.sleep(0.1)


def virsh(*words):
    done = subprocess.run(["virsh", "-c", uri, *words], capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise Failure(f"virsh {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def await_virsh(says, *words):
    """Until virsh says so; a guest may not be there yet."""

    def attempt():
        try:
            return says in virsh(*words)
        except Failure:
            return False

    await_it(f"virsh {' '.join(words)} says {says!r}", attempt)


# --- looking ---


def is_showing(element):
    return element.get_state_set().contains(Atspi.StateType.SHOWING)


def below(element):
    """All elements below that are on the screen, from the top down."""
    for i in range(element.get_child_count()):
        child = element.get_child_at_index(i)
        if child and is_showing(child):
            yield child
            yield from below(child)


def windows():
    desktop = Atspi.get_desktop(0)
    for i in range(desktop.get_child_count()):
        application = desktop.get_child_at_index(i)
        if application and application.get_name() == "virt-manager":
            for k in range(application.get_child_count()):
                child = application.get_child_at_index(k)
                if child:
                    yield child


def window(title):
    """The window whose title begins so."""
    return await_it(
        f"a window {title!r}", lambda: next((w for w in windows() if w.get_name().startswith(title) and is_showing(w)), None)
    )


def find(top, role, name=None):
    """The first element of that role and, if given, name."""

    def attempt():
        return next((e for e in below(top) if e.get_role_name() == role and name in (None, e.get_name())), None)

    return await_it(f"{role} {name or ''!r} in {top.get_name()!r}", attempt)


def text_of(element):
    return Atspi.Text.get_text(element, 0, -1)


def shows(top, text):
    """Waits until some element there says so."""

    def attempt():
        for element in below(top):
            if text in element.get_name():
                return True
            if "Text" in element.get_interfaces() and text in text_of(element):
                return True
        return False

    await_it(f"{text!r} in {top.get_name()!r}", attempt)


def picture(name):
    root = Gdk.get_default_root_window()
    Gdk.pixbuf_get_from_window(root, 0, 0, root.get_width(), root.get_height()).savev(f"{pictures}/{name}.png", "png", [], [])


# --- doing ---


def press(element):
    if not Atspi.Action.do_action(element, 0):
        raise Failure(f"{element.get_role_name()} {element.get_name()!r} cannot be pressed")


def button(top, name, role="push button"):
    element = find(top, role, name)
    await_it(f"button {name!r} can be pressed", lambda: element.get_state_set().contains(Atspi.StateType.SENSITIVE))
    press(element)


def choose(top, table, row):
    """Selects the row of a table that says so."""

    def attempt():
        rows = find(top, "table", table)
        for i in range(rows.get_child_count()):
            cell = rows.get_child_at_index(i)
            if row in [cell.get_name()] + [cell.get_child_at_index(k).get_name() for k in range(cell.get_child_count())]:
                return Atspi.Selection.select_child(rows, i)
        return False

    await_it(f"{row!r} can be chosen in {table!r}", attempt)


def set_number(top, name, number):
    element = find(top, "spin button", name)
    Atspi.Value.set_current_value(element, number)


def write(element, text):
    if not Atspi.EditableText.set_text_contents(element, text):
        raise Failure(f"nothing can be written into {element.get_name()!r}")


def virt_manager(*words):
    """Starts it, or tells the one that runs."""
    return subprocess.Popen(["virt-manager", "--connect", uri, *words], stdout=subprocess.DEVNULL)


def see():
    """Everything that is on the screen, for whoever looks for what failed."""
    for top in windows():
        if is_showing(top):
            print("window", repr(top.get_name()), file=sys.stderr)
            for element in below(top):
                text = text_of(element) if "Text" in element.get_interfaces() else ""
                print("   ", element.get_role_name(), repr(element.get_name()), repr(text)[:300] if text else "", file=sys.stderr)


# --- the session ---


def see_guests():
    manager = window("Virtual Machine Manager")
    shows(manager, "web\nRunning")
    shows(manager, "mail\nShutoff")
    picture("guests")


def everything_below(element):
    """On the screen or not, such as what is in menus."""
    for i in range(element.get_child_count()):
        child = element.get_child_at_index(i)
        if child:
            yield child
            yield from everything_below(child)


def allow_editing_of_xml():
    """By the preferences; its pages have no fields for pinning."""
    manager = window("Virtual Machine Manager")
    press(next(e for e in everything_below(manager) if e.get_role_name() == "menu item" and e.get_name() == "Preferences"))
    preferences = window("Preferences")
    press(find(preferences, "check box", "Enable XML editing"))
    button(preferences, "Close")


def pin_a_guest(details):
    choose(details, "hw-list", "Overview")
    tabs = find(details, "page tab", "XML").get_parent()
    Atspi.Selection.select_child(tabs, 1)
    text = await_it("the guest's XML", lambda: next((e for e in below(details) if e.get_role_name() == "text" and "<domain" in text_of(e)), None))
    write(text, text_of(text).replace("</vcpu>", "</vcpu><cputune><vcpupin vcpu='1' cpuset='0'/></cputune>"))
    picture("pinning")
    button(details, "config-apply")
    await_virsh('<vcpupin vcpu="1" cpuset="0"/>', "dumpxml", "mail", "--inactive")
    Atspi.Selection.select_child(tabs, 0)


def change_a_guest():
    virt_manager("--show-domain-editor", "mail")
    details = window("mail on")
    shows(details, "Shutoff")
    picture("overview")
    choose(details, "hw-list", "CPUs")
    set_number(details, "Virtual CPU Select", 2)
    button(details, "config-apply")
    await_virsh(">2</vcpu>", "dumpxml", "mail", "--inactive")
    choose(details, "hw-list", "Memory")
    set_number(details, "Max Memory Select", 96)
    set_number(details, "Memory Select", 64)
    picture("memory")
    button(details, "config-apply")
    await_virsh('<memory unit="KiB">98304</memory>', "dumpxml", "mail", "--inactive")
    await_virsh('<currentMemory unit="KiB">65536</currentMemory>', "dumpxml", "mail", "--inactive")
    pin_a_guest(details)
    button(details, "Run")
    await_virsh("running", "domstate", "mail")
    await_virsh(" 1      0\n", "vcpupin", "mail")
    await_virsh("Max memory:     98304 KiB", "dominfo", "mail")
    await_virsh("CPU(s):         2", "dominfo", "mail")
    shows(window("Virtual Machine Manager"), "mail\nRunning")


def read_a_console():
    virt_manager("--show-domain-console", "web")
    console = window("web on")
    terminal = find(console, "terminal")
    await_it("the guest's words on its console", lambda: "memory:" in text_of(terminal))
    picture("console")


def make_a_guest():
    virt_manager("--show-domain-creator")
    wizard = window("New VM")
    press(find(wizard, "radio button", "Import existing disk image"))
    button(wizard, "Forward")
    shows(wizard, "Step 2 of 4")
    write(find(wizard, "text", "import-entry"), disk)
    write(find(wizard, "text", "oslist-entry"), "Debian 11")
    find(find(wizard, "table", "os-list"), "table cell", "Debian 11 (debian11)")
    press(find(wizard, "text", "oslist-entry"))
    button(wizard, "Forward")
    shows(wizard, "Step 3 of 4")
    set_number(wizard, "", 64)
    set_number(wizard, "cpus", 1)
    button(wizard, "Forward")
    shows(wizard, "Step 4 of 4")
    write(find(wizard, "text", ""), "wizard")
    picture("wizard")
    press(find(wizard, "check box", "Customize configuration before install"))
    button(wizard, "Finish")
    details = window("wizard on")
    choose(details, "hw-list", "Boot Options")
    button(details, "Direct kernel boot", "toggle button")
    press(find(details, "check box", "Enable direct kernel boot"))
    write(find(details, "text", ""), "rounds=1000000000 until_key")
    write(find(details, "push button", "kernel-browse").get_parent().get_child_at_index(0), kernel)
    picture("kernel")
    button(details, "config-apply")
    button(details, "Begin Installation")
    await_virsh("running", "domstate", "wizard")
    await_virsh("Max memory:     65536 KiB", "dominfo", "wizard")
    xml = virsh("dumpxml", "wizard")
    for there in (f"<kernel>{kernel}</kernel>", f'<source file="{disk}"/>', '<interface type="user">'):
        if there not in xml:
            raise Failure(f"{there} is not in {xml}")
    shows(window("Virtual Machine Manager"), "wizard\nRunning")
    # The devices that virt-manager had added, and no guest has, are not shown as if they were there.
    terminal = find(window("wizard on"), "terminal")
    await_it("the new guest's words on its console", lambda: "memory:" in text_of(terminal))
    press(find(window("wizard on"), "radio button", "Details"))
    names = [e.get_name() for e in below(find(window("wizard on"), "table", "hw-list"))]
    for name in names:
        if name.startswith(("Display", "Video", "Sound", "Tablet", "USB", "Channel", "Controller")):
            raise Failure(f"the new guest is shown with a device that it has not: {name}")
    if "VirtIO Disk 1" not in names:
        raise Failure(f"the new guest is shown without its disk: {names}")
    picture("made")


try:
    Gtk.init([])
    Atspi.set_timeout(PATIENCE * 1000, PATIENCE * 1000)  # ms; it is 800 for one call, too short for a busy machine
    virt_manager("--no-fork")
    see_guests()
    allow_editing_of_xml()
    change_a_guest()
    read_a_console()
    make_a_guest()
except Failure as failure:
    picture("failure")
    see()
    print(failure, file=sys.stderr)
    sys.exit(1)
