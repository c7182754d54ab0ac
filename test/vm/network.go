package main

import (
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
)

// The addresses of QEMU's user network: what is sent to the gateway arrives at the host's 127.0.0.1.
const (
	guestAddress = "10.0.2.15/24"
	hostAddress  = "10.0.2.2"
)

// startNetwork gives the guest the one address that QEMU expects of it.
func startNetwork() error {
	address, err := netlink.ParseAddr(guestAddress)
	if err != nil {
		return fmt.Errorf("starting the network: %w", err)
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("listing network devices: %w", err)
	}
	for _, l := range links {
		if err := netlink.LinkSetUp(l); err != nil {
			return fmt.Errorf("starting network device %s: %w", l.Attrs().Name, err)
		}
		if l.Attrs().Flags&net.FlagLoopback != 0 {
			continue
		}
		if err := netlink.AddrReplace(l, address); err != nil {
			return fmt.Errorf("giving network device %s an address: %w", l.Attrs().Name, err)
		}
		if err := netlink.RouteReplace(&netlink.Route{LinkIndex: l.Attrs().Index, Gw: net.ParseIP(hostAddress)}); err != nil {
			return fmt.Errorf("making a route to the host: %w", err)
		}
	}
	return nil
}
