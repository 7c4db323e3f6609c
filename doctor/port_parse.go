package doctor

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// stateListen is TCP_LISTEN of the kernel's include/net/tcp_states.h.
const stateListen = "0A"

// parseListeners returns the listening sockets of /proc/net/tcp or tcp6 that have a
// port. Lines of another form are passed over, the heading among them.
//
// Source: https://www.kernel.org/doc/html/latest/networking/proc_net_tcp.html
func parseListeners(table string, port uint16) []listener {
	var listeners []listener
	for line := range strings.Lines(table) {
		// sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
		fields := strings.Fields(line)
		if len(fields) < 10 || fields[3] != stateListen {
			continue
		}
		local, valid := parseSocketAddress(fields[1])
		if !valid || local.Port() != port {
			continue
		}
		listeners = append(listeners, listener{addr: local.Addr(), uid: fields[7], inode: fields[9]})
	}
	return listeners
}

// parseSocketAddress reads an address in words of four bytes, which are in the
// order of the processor, and a port that is a number.
func parseSocketAddress(text string) (netip.AddrPort, bool) {
	address, portText, _ := strings.Cut(text, ":")
	port, err := strconv.ParseUint(portText, 16, 16)
	if err != nil {
		return netip.AddrPort{}, false
	}
	raw, err := hex.DecodeString(address)
	if err != nil || len(raw) != 4 && len(raw) != 16 {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(raw); i += 4 {
		word := raw[i : i+4]
		binary.NativeEndian.PutUint32(word, binary.BigEndian.Uint32(word))
	}
	ip, _ := netip.AddrFromSlice(raw) // of a right length
	return netip.AddrPortFrom(ip, uint16(port)), true
}
