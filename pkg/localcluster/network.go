package localcluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
)

// chooseBlock takes a /16 of 10/8 in which the host has no address and no route. It starts from a hash
// of the directory, so that an instance made again keeps its addresses.
func chooseBlock(dir string, used []netip.Prefix) (Network, error) {
	const first, count = 64, 192
	h := dirHash(dir)
	start := int(h[0])
	for i := range count {
		n := Network{Block: first + (start+i)%count}
		block := netip.PrefixFrom(n.addr(0, 0), 16)
		free := true
		for _, u := range used {
			// A default route covers everything and takes nothing.
			if u.Bits() > 0 && u.Overlaps(block) {
				free = false
			}
		}
		if free {
			return n, nil
		}
	}
	return Network{}, errors.New("no free address block: the host has routes to all of 10.64.0.0 to 10.255.255.255")
}

// hostPrefixes are the IPv4 addresses and routes of the host.
func hostPrefixes() ([]netip.Prefix, error) {
	var used []netip.Prefix
	add := func(n *net.IPNet) {
		if n == nil {
			return
		}
		if a, ok := netip.AddrFromSlice(n.IP); ok {
			bits, _ := n.Mask.Size()
			used = append(used, netip.PrefixFrom(a.Unmap(), bits).Masked())
		}
	}
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing the host's addresses: %w", err)
	}
	for _, a := range addrs {
		add(a.IPNet)
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return nil, fmt.Errorf("listing the host's routes: %w", err)
	}
	for _, r := range routes {
		add(r.Dst)
	}
	return used, nil
}

func (n Network) loopbackAddrs() []*netlink.Addr {
	var addrs []*netlink.Addr
	for _, a := range []netip.Addr{n.NodeIP(), n.ServiceIP()} {
		addrs = append(addrs, &netlink.Addr{IPNet: &net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(32, 32)}})
	}
	return addrs
}

// addLoopbackAddrs gives the node and the kubernetes service addresses on lo. The kubelet refuses
// 127.0.0.1 as a node's address, and the API server refuses to proxy to it; an address of the host's
// own network would reach beyond the machine.
func (n Network) addLoopbackAddrs() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback interface: %w", err)
	}
	for _, a := range n.loopbackAddrs() {
		if err := netlink.AddrReplace(lo, a); err != nil {
			return fmt.Errorf("adding %s to the loopback interface: %w", a.IP, err)
		}
	}
	return nil
}

func (n Network) removeLoopbackAddrs() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback interface: %w", err)
	}
	for _, a := range n.loopbackAddrs() {
		if err := netlink.AddrDel(lo, a); err != nil && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return fmt.Errorf("removing %s from the loopback interface: %w", a.IP, err)
		}
	}
	return nil
}

// podLinks names the host's ends of pods' network devices, from what CNI cached when it made them.
func podLinks(l Layout) ([]string, error) {
	files, err := filepath.Glob(l.path("node", "varlib", "cni", "results", "*"))
	if err != nil {
		return nil, fmt.Errorf("listing CNI results: %w", err)
	}
	var names []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("reading a CNI result: %w", err)
		}
		var cached struct {
			Result struct {
				Interfaces []struct{ Name, Sandbox string }
			}
		}
		// A half-written file is that of a pod whose device has no host end to speak of yet.
		if json.Unmarshal(b, &cached) != nil {
			continue
		}
		for _, i := range cached.Result.Interfaces {
			if i.Sandbox == "" && i.Name != "lo" {
				names = append(names, i.Name)
			}
		}
	}
	return names, nil
}

// removeLinks removes devices. They go with their pod's network namespace, but that is done by the
// kernel in its own time.
func removeLinks(names []string) error {
	var errs []error
	for _, n := range names {
		link, err := netlink.LinkByName(n)
		if err != nil {
			continue
		}
		if err := netlink.LinkDel(link); err != nil && !errors.Is(err, syscall.ENODEV) {
			errs = append(errs, fmt.Errorf("removing network device %s: %w", n, err))
		}
	}
	return errors.Join(errs...)
}

// forward carries connections to the API server. Without kube-proxy this is what makes the kubernetes
// service work, so that pods with ordinary in-cluster configuration find the API.
func forward(ctx context.Context, log *slog.Logger, from, to string) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", from)
	if err != nil {
		return fmt.Errorf("listening for pods: %w", err)
	}
	context.AfterFunc(ctx, func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				log.Warn("accepting a pod's connection", "at", from, "error", err)
				time.Sleep(100 * time.Millisecond) // out of file descriptors, most likely
				continue
			}
			go carry(c, to)
		}
	}()
	return nil
}

func carry(client net.Conn, to string) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", to, 5*time.Second)
	if err != nil {
		return // the client sees a closed connection, as it would from a server that is down
	}
	defer server.Close()
	var wg sync.WaitGroup
	wg.Go(func() { pipe(server, client) })
	wg.Go(func() { pipe(client, server) })
	wg.Wait()
}

// pipe copies until either side ends, and passes the end on. What went wrong is for the two ends to say.
func pipe(dst, src net.Conn) {
	_, _ = io.Copy(dst, src)
	if c, ok := dst.(*net.TCPConn); ok {
		_ = c.CloseWrite()
	}
}
