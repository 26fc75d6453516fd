/*
 * What cannot be probed, for ACPI's interpreter in the guest: the host bridge and its windows (see layout.h), serial ports, the clock,
 * and how to power off. Compiled by iasl at build time; everything that depends on the configuration is in the other tables (acpi.c).
 */
DefinitionBlock ("", "DSDT", 2, "PAGODA", "PAGODA", 1)
{
    Name (\_S5, Package () { 0, 0, 0, 0 })

    Scope (\_SB)
    {
        Device (PCI0)
        {
            Name (_HID, EisaId ("PNP0A08"))
            Name (_CID, EisaId ("PNP0A03"))
            Name (_UID, 0)
            Name (_SEG, 0)
            Name (_BBN, 0)
            Name (_CRS, ResourceTemplate ()
            {
                WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode, 0, 0, 0, 0, 1)
                IO (Decode16, 0x0CF8, 0x0CF8, 1, 8)
                WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange, 0, 0x1000, 0xFFFF, 0, 0xF000)
                DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed, NonCacheable, ReadWrite,
                             0, 0xC0000000, 0xDFFFFFFF, 0, 0x20000000)
            })
            Method (_OSC, 4)
            {
                /* Nothing of PCI Express is offered to the guest: no hot plug, no error reporting. */
                CreateDWordField (Arg3, 0, STAT)
                If (LNotEqual (Arg0, ToUUID ("33DB4D5B-1FF7-401C-9657-7441C03DD766")))
                {
                    Or (STAT, 4, STAT)
                    Return (Arg3)
                }
                CreateDWordField (Arg3, 8, CTRL)
                If (LNotEqual (CTRL, 0))
                {
                    Or (STAT, 0x10, STAT)
                    Store (0, CTRL)
                }
                Return (Arg3)
            }
        }

        Device (MBRS)
        {
            Name (_HID, EisaId ("PNP0C02"))
            Name (_CRS, ResourceTemplate ()
            {
                Memory32Fixed (ReadWrite, 0xE0000000, 0x00100000)
                IO (Decode16, 0x0600, 0x0600, 1, 12)
            })
        }

        Device (COM1)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 1)
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x03F8, 0x03F8, 1, 8)
                IRQNoFlags () { 4 }
            })
        }

        Device (COM2)
        {
            Name (_HID, EisaId ("PNP0501"))
            Name (_UID, 2)
            OperationRegion (SER2, SystemIO, 0x02FD, 1)
            Field (SER2, ByteAcc, NoLock, Preserve) { LSR2, 8 }
            Method (_STA)
            {
                /* The second port is there if its line status reads as a port's does. */
                If (LEqual (LSR2, 0xFF)) { Return (0) }
                Return (0x0F)
            }
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x02F8, 0x02F8, 1, 8)
                IRQNoFlags () { 3 }
            })
        }

        Device (RTC0)
        {
            Name (_HID, EisaId ("PNP0B00"))
            Name (_CRS, ResourceTemplate ()
            {
                IO (Decode16, 0x0070, 0x0070, 1, 2)
            })
        }
    }
}
