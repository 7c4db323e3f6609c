package ddnsipv6

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/jsimonetti/rtnetlink/v2"
	"github.com/mdlayher/netlink"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

const (
	// watchInterval is how often the addresses are looked at while nothing
	// happens: an event may be lost without a trace.
	watchInterval = 5 * time.Minute

	minRedial = time.Second
	maxRedial = time.Minute
)

// eventConn is a netlink socket that has joined groups, a *netlink.Conn.
type eventConn interface {
	Receive() ([]netlink.Message, error)
	SetReadDeadline(time.Time) error
	Close() error
}

// watcher turns the kernel's events to calls of changed.
type watcher struct {
	dial    func() (eventConn, error)
	changed func()
	logger  *zap.Logger

	redial time.Duration // the pause before the next dial
	failed bool          // no events come, and that was logged
	lost   bool          // the loss of events was logged since the last quiet interval
}

func watchHost(ctx context.Context, logger *zap.Logger, changed func()) {
	w := watcher{dial: dialEvents, changed: changed, logger: logger}
	w.run(ctx)
}

func dialEvents() (eventConn, error) {
	return netlink.Dial(unix.NETLINK_ROUTE, &netlink.Config{
		Groups: unix.RTMGRP_LINK | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV6_ROUTE,
	})
}

// run watches until ctx is done. While it gets no events it calls changed each
// time that it tries again to get some.
func (w *watcher) run(ctx context.Context) {
	w.redial = minRedial
	for {
		err := w.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if !w.failed {
			w.failed = true
			w.logger.Warn("no kernel events, looking at the addresses every minute until they come again", zap.Error(err))
		}
		w.changed()
		pause := time.NewTimer(w.redial)
		select {
		case <-ctx.Done():
			pause.Stop()
			return
		case <-pause.C:
		}
		w.redial = min(2*w.redial, maxRedial)
	}
}

// session lasts as long as one socket. It always returns an error.
func (w *watcher) session(ctx context.Context) error {
	conn, err := w.dial()
	if err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	closed := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		conn.Close()
		close(closed)
	})
	defer func() {
		conn.Close()
		if !stop() {
			<-closed
		}
	}()

	if w.failed {
		w.failed = false
		w.logger.Info("kernel events come again")
	}
	w.changed() // whatever happened before
	return w.receive(conn)
}

// receive calls changed for events, after a loss of events, and every interval.
// It returns when the socket is of no more use.
func (w *watcher) receive(conn eventConn) error {
	if err := conn.SetReadDeadline(time.Now().Add(watchInterval)); err != nil {
		return fmt.Errorf("setting the deadline of a netlink socket: %w", err)
	}
	for {
		messages, err := conn.Receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			w.lost = false
			w.changed()
			if err := conn.SetReadDeadline(time.Now().Add(watchInterval)); err != nil {
				return fmt.Errorf("setting the deadline of a netlink socket: %w", err)
			}
		case errors.Is(err, unix.ENOBUFS):
			// A burst may overrun the socket several times.
			if !w.lost {
				w.lost = true
				w.logger.Warn("kernel events were lost, reading the addresses again", zap.Error(err))
			}
			w.changed()
		case err != nil:
			return fmt.Errorf("receiving kernel events: %w", err)
		case slices.ContainsFunc(messages, relevant):
			w.changed()
		}
		w.redial = minRedial // it works
	}
}

// relevant tells that an event may change what [InterfaceSource.Addresses]
// returns. One that can't be read may.
func relevant(m netlink.Message) bool {
	switch m.Header.Type {
	case unix.RTM_NEWADDR, unix.RTM_DELADDR, unix.RTM_DELLINK:
		// A NEWADDR comes for each router advertisement, too: Sightings count them.
		return true
	case unix.RTM_NEWLINK:
		return relevantLink(m.Data)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return relevantRoute(m.Data)
	default:
		return false
	}
}

// relevantLink leaves out what changes no name and no address: the ports of
// bridges, which the kernel reports as links of another family, and wireless
// events such as the end of a scan.
func relevantLink(data []byte) bool {
	if len(data) < unix.SizeofIfInfomsg {
		return true
	}
	if data[0] != unix.AF_UNSPEC {
		return false
	}
	attributes, err := netlink.NewAttributeDecoder(data[unix.SizeofIfInfomsg:])
	if err != nil {
		return true
	}
	for attributes.Next() {
		if attributes.Type() == unix.IFLA_WIRELESS {
			return false
		}
	}
	return true
}

// relevantRoute picks the default routes, and those that tell which network an
// address without one belongs to.
func relevantRoute(data []byte) bool {
	if !ofMainTable(data) {
		return false
	}
	var m rtnetlink.RouteMessage
	if err := m.UnmarshalBinary(data); err != nil || m.DstLength == 0 {
		return true
	}
	_, ok := linkNetwork(&m)
	return ok
}
