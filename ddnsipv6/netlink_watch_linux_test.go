package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

func TestRelevant(t *testing.T) {
	route := func(edit func(*rtnetlink.RouteMessage), dst string, attributes rtnetlink.RouteAttributes) []byte {
		m := unicast(dst, attributes)
		edit(&m)
		data, err := m.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	asIs := func(*rtnetlink.RouteMessage) {}
	attributes := netlink.NewAttributeEncoder()
	attributes.String(unix.IFLA_IFNAME, "wlan0")
	named, err := attributes.Encode()
	if err != nil {
		t.Fatal(err)
	}
	attributes.Bytes(unix.IFLA_WIRELESS, make([]byte, 8))
	wireless, err := attributes.Encode()
	if err != nil {
		t.Fatal(err)
	}
	link := make([]byte, unix.SizeofIfInfomsg)
	bridgePort := slices.Clone(link)
	bridgePort[0] = unix.AF_BRIDGE
	gateway := []byte{0xfe, 0x80, 15: 1}
	for _, tt := range []struct {
		name string
		kind netlink.HeaderType
		data []byte
		want bool
	}{
		{name: "new address", kind: unix.RTM_NEWADDR, want: true},
		{name: "deleted address", kind: unix.RTM_DELADDR, want: true},
		{name: "new link", kind: unix.RTM_NEWLINK, data: append(slices.Clone(link), named...), want: true},
		{name: "deleted link", kind: unix.RTM_DELLINK, data: link, want: true},
		{name: "link too short", kind: unix.RTM_NEWLINK, want: true},
		{name: "port of a bridge", kind: unix.RTM_NEWLINK, data: bridgePort},
		{name: "wireless event", kind: unix.RTM_NEWLINK, data: append(slices.Clone(link), wireless...)},
		{name: "neighbour", kind: unix.RTM_NEWNEIGH},
		{name: "default route", kind: unix.RTM_NEWROUTE, data: route(asIs, "", rtnetlink.RouteAttributes{Gateway: gateway, OutIface: 2}), want: true},
		{name: "no default route", kind: unix.RTM_DELROUTE, data: route(asIs, "", rtnetlink.RouteAttributes{}), want: true},
		{name: "prefix on the link", kind: unix.RTM_NEWROUTE, data: route(asIs, "2600::/64", rtnetlink.RouteAttributes{OutIface: 2}), want: true},
		{name: "prefix elsewhere", kind: unix.RTM_NEWROUTE, data: route(asIs, "2600::/64", rtnetlink.RouteAttributes{Gateway: gateway})},
		{name: "one host", kind: unix.RTM_NEWROUTE, data: route(asIs, "2600::1/128", rtnetlink.RouteAttributes{OutIface: 2})},
		{
			name: "another table", kind: unix.RTM_NEWROUTE,
			data: route(func(m *rtnetlink.RouteMessage) { m.Table = unix.RT_TABLE_LOCAL }, "", rtnetlink.RouteAttributes{}),
		},
		{
			name: "unreachable", kind: unix.RTM_NEWROUTE,
			data: route(func(m *rtnetlink.RouteMessage) { m.Type = unix.RTN_UNREACHABLE }, "", rtnetlink.RouteAttributes{}),
		},
		{name: "no route at all", kind: unix.RTM_NEWROUTE, data: []byte{unix.AF_INET6}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := relevant(netlink.Message{Header: netlink.Header{Type: tt.kind}, Data: tt.data}); got != tt.want {
				t.Errorf("got %v", got)
			}
		})
	}
}

// quietConn is a socket on which nothing happens.
type quietConn struct {
	deadline *time.Timer
	closed   chan struct{}
}

func newQuietConn() *quietConn {
	return &quietConn{deadline: time.NewTimer(time.Hour), closed: make(chan struct{})}
}

func (c *quietConn) Receive() ([]netlink.Message, error) {
	select {
	case <-c.deadline.C:
		return nil, os.ErrDeadlineExceeded
	case <-c.closed:
		return nil, os.ErrClosed
	}
}

func (c *quietConn) SetReadDeadline(at time.Time) error {
	c.deadline.Reset(time.Until(at))
	return nil
}

func (c *quietConn) Close() error {
	select {
	case <-c.closed:
	default:
		close(c.closed)
	}
	return nil
}

// newWatcher returns a watcher with a log.
func newWatcher(dial func() (eventConn, error), changed func()) (*watcher, *observer.ObservedLogs) {
	core, logs := observer.New(zap.DebugLevel)
	return &watcher{dial: dial, changed: changed, logger: zap.New(core)}, logs
}

// start runs a watcher and returns a function that ends it and fails the test
// if that takes a second.
func start(t *testing.T, w *watcher) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.run(ctx)
	}()
	t.Cleanup(cancel)
	return func() {
		t.Helper()
		cancel()
		select {
		case <-ended:
		case <-time.After(time.Second):
			t.Error("Watch goes on for a second after the end of its context")
		}
	}
}

// While nothing happens, and while there are no events, the addresses are
// looked at all the same.
func TestWatchWithoutEvents(t *testing.T) {
	refused := errors.New("refused")
	for _, tt := range []struct {
		name string
		dial func() (eventConn, error)
		want []string // when changed is called
		logs []string
	}{
		{
			name: "nothing happens",
			dial: func() (eventConn, error) { return newQuietConn(), nil },
			want: []string{"0s", "5m0s", "10m0s"},
			logs: []string{},
		},
		{
			name: "no socket",
			dial: func() (eventConn, error) { return nil, refused },
			want: []string{"0s", "1s", "3s", "7s", "15s", "31s", "1m3s", "2m3s", "3m3s", "4m3s", "5m3s", "6m3s", "7m3s", "8m3s", "9m3s", "10m3s"},
			logs: []string{"warn no kernel events, looking at the addresses every minute until they come again"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var calls []string
				w, logs := newWatcher(tt.dial, func() { calls = append(calls, time.Since(begin).String()) })
				stop := start(t, w)
				time.Sleep(10*time.Minute + 30*time.Second) // of the bubble's clock
				synctest.Wait()
				stop()
				if diff := cmp.Diff(tt.want, calls); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(tt.logs, lines(logs)); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// A socket that breaks again and again is opened less and less often.
func TestWatchBrokenSocket(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dials := 0
		w, _ := newWatcher(func() (eventConn, error) {
			dials++
			conn := newQuietConn()
			conn.Close()
			return conn, nil
		}, func() {})
		stop := start(t, w)
		time.Sleep(10 * time.Minute) // of the bubble's clock
		synctest.Wait()
		stop()
		if dials != 15 {
			t.Errorf("%d dials in 10 minutes", dials)
		}
	})
}

// cable makes an interface whose other end is another one of this host.
func cable(t *testing.T, name string) {
	t.Helper()
	testenv.IP(t, "link", "add", name, "type", "veth", "peer", "name", "far-"+name)
	testenv.IP(t, "link", "set", "far-"+name, "up")
	testenv.IP(t, "link", "set", name, "up")
}

// The kernel drops events for a reader that is too slow, and says so once.
func TestKernelEventsLost(t *testing.T) {
	t.Parallel()
	if !testenv.Namespace(t) {
		return
	}
	cable(t, "v0")
	var dials, calls atomic.Int32
	busy := make(chan struct{})
	w, logs := newWatcher(func() (eventConn, error) {
		dials.Add(1)
		conn, err := dialEvents()
		if err != nil {
			return nil, err
		}
		return conn, conn.(*netlink.Conn).SetReadBuffer(4096)
	}, func() {
		calls.Add(1)
		<-busy
	})
	stop := start(t, w)
	grown := func(what string, before int32) {
		t.Helper()
		testenv.Eventually(t, what, func() error {
			if calls.Load() <= before {
				return errors.New("changed was not called")
			}
			return nil
		})
	}
	grown("the subscription", 0)
	var batch strings.Builder
	for i := range 500 {
		fmt.Fprintf(&batch, "addr add 2600:0:0:1::%x/64 dev v0 nodad\n", i+1)
	}
	file := filepath.Join(t.TempDir(), "batch")
	if err := os.WriteFile(file, []byte(batch.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	testenv.IP(t, "-batch", file)
	before := calls.Load()
	close(busy)
	grown("a look after the loss", before)
	// More than could be left in a socket of this size.
	for i := range 20 {
		before := calls.Load()
		testenv.IP(t, "addr", "del", fmt.Sprintf("2600:0:0:1::%x/64", i+1), "dev", "v0")
		grown("the event of a removal", before)
	}
	stop()
	if diff := cmp.Diff([]string{"warn kernel events were lost, reading the addresses again"}, lines(logs)); diff != "" || dials.Load() != 1 {
		t.Errorf("%d dials, log: %s", dials.Load(), diff)
	}
}

func TestKernelSocketDies(t *testing.T) {
	t.Parallel()
	if !testenv.Namespace(t) {
		return
	}
	conns, calls := make(chan eventConn, 10), make(chan struct{}, 100)
	w, logs := newWatcher(func() (eventConn, error) {
		conn, err := dialEvents()
		if err == nil {
			conns <- conn
		}
		return conn, err
	}, func() { calls <- struct{}{} })
	stop := start(t, w)
	<-calls // it has subscribed
	(<-conns).Close()
	<-calls // for what may have changed meanwhile
	<-conns
	<-calls // it has subscribed again
	cable(t, "v0")
	select {
	case <-calls:
	case <-time.After(30 * time.Second):
		t.Error("no events from the new socket")
	}
	stop()
	want := []string{"warn no kernel events, looking at the addresses every minute until they come again", "info kernel events come again"}
	if diff := cmp.Diff(want, lines(logs)); diff != "" {
		t.Error(diff)
	}
}

func TestKernelWatchLeavesNothing(t *testing.T) {
	t.Parallel()
	if !testenv.Namespace(t) {
		return
	}
	s, _ := newInterfaceSource(t)
	files := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	var goroutines, open int
	for i := range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		subscribed := make(chan struct{}, 100)
		go func() {
			defer close(ended)
			s.Watch(ctx, func() { subscribed <- struct{}{} })
		}()
		<-subscribed
		if _, err := s.Addresses(ctx); err != nil {
			t.Fatal(err)
		}
		cancelled := time.Now()
		cancel()
		<-ended
		if took := time.Since(cancelled); took > time.Second {
			t.Errorf("Watch took %s to end", took)
		}
		if i == 0 {
			goroutines, open = runtime.NumGoroutine(), files()
		}
	}
	testenv.Eventually(t, "goroutines and files to be as few as before", func() error {
		if g, f := runtime.NumGoroutine(), files(); g > goroutines || f > open {
			return fmt.Errorf("%d goroutines, were %d; %d files, were %d", g, goroutines, f, open)
		}
		return nil
	})
}

func TestReadHostHonoursContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := readHost(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
