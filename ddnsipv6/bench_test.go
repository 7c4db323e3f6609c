package ddnsipv6

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/libdns/libdns"
)

// looks are a source's lists of n addresses in networks of their own, all
// announced again in each: what a wake-up sees if nothing has changed.
func looks(n int) (two [2][]Address) {
	for i := range two {
		for j := range n {
			a := lanAddress("2600::1", refreshedAt(time.Duration(i+1)*time.Minute))
			b := a.IP.As16()
			binary.BigEndian.PutUint16(b[4:], uint16(j))
			a.IP = netip.AddrFrom16(b)
			two[i] = append(two[i], a)
		}
	}
	return two
}

// idle is a wake-up on which nothing has changed: what the updater does with
// what the source returned, and with what the provider did.
type idle struct {
	seen    Sightings
	judged  []Judged
	current netip.Addr
}

func (w *idle) look(addresses []Address) bool {
	w.seen.Observe(addresses)
	chosen, ok, judged := Select(w.judged[:0], addresses, Filter{}, &w.seen, w.current)
	moved := chosen.IP != w.current
	w.current, w.judged = chosen.IP, judged
	return ok && !moved
}

func BenchmarkSelect(b *testing.B) {
	for _, n := range []int{1, 16, 256, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			addresses := looks(n)
			var w idle
			w.look(addresses[0])
			w.look(addresses[1])
			b.ReportAllocs()
			for b.Loop() {
				w.look(addresses[1])
			}
		})
	}
}

func BenchmarkPlan(b *testing.B) {
	wanted := netip.MustParseAddr("2600::1")
	read := RRset{Known: true, Records: []libdns.Record{libdns.RR{Name: "nas", Type: "AAAA", Data: "2600::1"}}}
	b.ReportAllocs()
	for b.Loop() {
		if !Plan(wanted, read, wanted).Nothing() {
			b.Fatal("something to do")
		}
	}
}

// A wake-up on which nothing has changed must not make garbage: a NAS has
// hundreds of them a day, for years.
func TestIdleAllocations(t *testing.T) {
	for _, n := range []int{1, 4096} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			addresses := looks(n)
			var w idle
			w.look(addresses[0])
			w.look(addresses[1])
			if got := testing.AllocsPerRun(100, func() {
				if !w.look(addresses[1]) {
					t.Error("moved")
				}
			}); got != 0 {
				t.Errorf("%v allocations", got)
			}
		})
	}
	t.Run("Plan", func(t *testing.T) {
		wanted := netip.MustParseAddr("2600::1")
		read := RRset{Known: true, Records: []libdns.Record{libdns.RR{Name: "nas", Type: "AAAA", Data: "2600::1"}}}
		if got := testing.AllocsPerRun(100, func() { Plan(wanted, read, wanted) }); got != 0 {
			t.Errorf("%v allocations", got)
		}
	})
}
