//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

const (
	// Caddy renews a certificate that is valid for less than five of its rounds, of
	// ten minutes each. (Of those that are valid for months, a third must be left.)
	renewedBefore = 50 * time.Minute

	// validity leaves time for all that must not order another one.
	validity = renewedBefore + 6*time.Minute

	bigImage = "team/big:v1" // an image of 1 GiB

	// followWithin is how soon new connections reach a new address.
	followWithin = 5 * time.Second
)

// writes is how often the service was told an address.
func (h *house) writes() (n int) {
	for _, r := range h.service.Requests() {
		if strings.HasPrefix(r.Command, "hostname/") {
			n++
		}
	}
	return n
}

// background runs docker on the client, and returns what becomes of it.
func (h *house) background(args ...string) <-chan error {
	done := make(chan error, 1)
	go func() {
		_, err := h.client.try(append([]string{"docker"}, args...)...)
		done <- err
	}()
	return done
}

// uploaded is how many bytes of a repository's running uploads the registry has.
func (h *house) uploaded(repository string) (bytes int64) {
	dir := filepath.Join(h.checkout, "data/docker/registry/docker/registry/v2/repositories", repository, "_uploads")
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error { // what is gone counts nothing
		if err == nil && entry.Name() == "data" {
			if info, err := entry.Info(); err == nil {
				bytes += info.Size()
			}
		}
		return nil
	})
	return bytes
}

func (h *house) renumbered(t *testing.T) {
	h.client.newImage(site+"/"+bigImage, "1G")
	push := h.background("push", "--quiet", site+"/"+bigImage)
	h.uploading(t, "team/big")
	h.move(t, secondPrefix, firstPrefix)
	var err error
	select {
	case err = <-push:
		if err == nil {
			t.Fatal("the push of 1 GiB ended before the prefix had changed")
		}
	default:
		err = <-push
	}
	if err != nil {
		t.Logf("the push failed once: %v", err)
		h.client.run("docker", "push", "--quiet", site+"/"+bigImage)
	}
}

// uploading waits until an upload is on its way.
func (h *house) uploading(t *testing.T, repository string) {
	t.Helper()
	testenv.EventuallyWithin(t, "an upload to "+repository, soon, func() error {
		if h.uploaded(repository) < 1<<20 {
			return errors.New("less than 1 MiB has arrived")
		}
		return nil
	})
}

// move changes the prefix, and waits until new connections reach the new address.
func (h *house) move(t *testing.T, prefix string, before ...string) {
	t.Helper()
	h.router.advertise(prefix, before...)
	h.address = h.nas.awaitAddress(prefix)
	usable := time.Now()
	h.reachable(h.address)
	if took := time.Since(usable); took > followWithin {
		t.Errorf("the client reached the new address after %s", took)
	} else {
		t.Logf("the client reached the new address %s after it had become usable", took.Round(time.Millisecond))
	}
	if err := h.published(h.address); err != nil {
		t.Error(err)
	}
}

// reloaded pushes images one after the other while Caddy is reloaded. No push may
// fail, not even in such a way that the engine tries again by itself.
func (h *house) reloaded(t *testing.T) {
	again := func() int { return strings.Count(h.client.daemon.Log(), "Upload failed, retrying") }
	before := again()
	stop := make(chan struct{})
	pushed := make(chan error, 1)
	pushes := 0
	go func() {
		for {
			select {
			case <-stop:
				pushed <- nil
				return
			default:
			}
			image := fmt.Sprintf("%s/team/reload:v%d", site, pushes)
			err := h.client.tryNewImage(image, "64M")
			if err == nil {
				_, err = h.client.try("docker", "push", "--quiet", image)
			}
			if err != nil {
				pushed <- err
				return
			}
			pushes++
		}
	}()
	for range 20 {
		h.uploading(t, "team/reload")
		h.reload()
	}
	close(stop)
	if err := <-pushed; err != nil {
		t.Error(err)
	}
	if pushes == 0 {
		t.Error("no push ended")
	}
	if n := again() - before; n > 0 {
		t.Errorf("the engine tried %d uploads again", n)
	}
	t.Logf("20 reloads during %d pushes", pushes)
}

func (h *house) recreated(t *testing.T) {
	before := h.registryAddress()
	h.compose("rm", "--force", "--stop", "registry")
	// It gets the address that is free now.
	h.nas.run("docker", "run", "--detach", "--name", "other", "--network", h.network(), "--entrypoint", "busybox", "registry:3", "sleep", "3600")
	h.compose("up", "-d", "registry")
	if after := h.registryAddress(); after == before {
		t.Fatalf("the container has the address %s again", after)
	}
	testenv.EventuallyWithin(t, "the registry at its new address", soon, func() error {
		_, err := h.catalog()
		return err
	})
	h.pushAndPull(t, "team/recreated:v1")
	h.nas.run("docker", "rm", "--force", "--volumes", "other")
}

func (h *house) registryAddress() string {
	return h.nas.run("docker", "inspect", "--format", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", h.container("registry"))
}

func (h *house) engineRestarts(t *testing.T) {
	orders, writes := h.pebble.Orders(), h.writes()
	h.nas.daemon.stop()
	h.nas.start()
	h.reachable(h.address)
	h.pushAndPull(t, "team/restarted:v1")
	h.noMore(t, orders, writes)
}

// noMore expects that no certificate was ordered and no address written since.
func (h *house) noMore(t *testing.T, orders, writes int) {
	t.Helper()
	if leaf, err := h.served(); err != nil || time.Until(leaf.NotAfter) < renewedBefore {
		t.Fatalf("this came too late: the certificate is due, so that nothing can be said (%v)", err)
	}
	if n := h.pebble.Orders() - orders; n != 0 {
		t.Errorf("%d certificates were ordered", n)
	}
	if n := h.writes() - writes; n != 0 {
		t.Errorf("the address was written %d times", n)
	}
}

// killed ends Caddy in the middle of a push.
func (h *house) killed(t *testing.T) {
	orders, writes := h.pebble.Orders(), h.writes()
	caddy := h.container("caddy")
	started := func() string { return h.nas.run("docker", "inspect", "--format", "{{.State.StartedAt}}", caddy) }
	before := started()
	image := site + "/team/killed:v1"
	h.client.newImage(image, "256M")
	push := h.background("push", "--quiet", image)
	h.uploading(t, "team/killed")
	h.signal("caddy", "KILL")
	testenv.EventuallyWithin(t, "another start", soon, func() error {
		if started() == before {
			return errors.New("it has not been started again")
		}
		return nil
	})
	h.reachable(h.address)
	if err := <-push; err != nil {
		t.Logf("the push failed once: %v", err)
	}
	h.sendAndGet(t, image)
	// All that was pushed before is there and whole: the engine checks digests.
	big := site + "/" + bigImage
	id := h.client.id(big)
	h.client.run("docker", "rmi", big)
	h.client.run("docker", "pull", "--quiet", big)
	if got := h.client.id(big); got != id {
		t.Errorf("pushed %s, pulled %s", id, got)
	}
	h.noMore(t, orders, writes)
}

// serviceAway lasts two minutes; what happens after hours is tested with an
// artificial clock in package ddnsipv6.
func (h *house) serviceAway(t *testing.T) {
	old := h.address
	h.service.Hang(true)
	back := time.After(2 * time.Minute)
	h.router.advertise(thirdPrefix, secondPrefix)
	h.address = h.nas.awaitAddress(thirdPrefix)
	// The former address is valid still, and the name leads there.
	for away := true; away; {
		h.reachable(old)
		h.pushAndPull(t, "team/away:v1")
		select {
		case <-back:
			away = false
		default:
		}
	}
	if err := h.published(old); err != nil {
		t.Error(err)
	}
	h.service.Hang(false)
	testenv.EventuallyWithin(t, "the new address", patience, func() error { return h.published(h.address) })
	h.reachable(h.address)
}

// renewed restarts Caddy when the certificate is due: it renews what is due when it
// starts, and in rounds of ten minutes, which the shipped files don't change.
func (h *house) renewed(t *testing.T) {
	before, err := h.served()
	if err != nil {
		t.Fatal(err)
	}
	// Caddy counts to the end of the last second, and rounds may differ by a moment.
	due := before.NotAfter.Add(5*time.Second - renewedBefore)
	testenv.EventuallyWithin(t, "the time to renew", validity, func() error {
		if left := time.Until(due); left > 0 {
			return fmt.Errorf("it is in %s", left)
		}
		return nil
	})
	image := site + "/" + bigImage
	h.client.run("docker", "rmi", image)
	// So that it takes longer than the renewal; and that waits for the pull.
	h.router.run("tc", "qdisc", "add", "dev", "port3", "root", "tbf", "rate", "400mbit", "burst", "1mb", "latency", "50ms")
	h.service.Hang(true)
	h.compose("restart", "caddy")
	h.reachable(h.address)
	pull := h.background("pull", "--quiet", image)
	if got, err := h.served(); err != nil || !slices.Equal(got.Raw, before.Raw) {
		t.Fatalf("the certificate was renewed before the pull, or is not served: %v", err)
	}
	h.service.Hang(false)
	testenv.EventuallyWithin(t, "another certificate", soon, func() error {
		now, err := h.served()
		if err == nil && slices.Equal(now.Raw, before.Raw) {
			err = errors.New("it is the old one")
		}
		return err
	})
	select {
	case err := <-pull:
		t.Fatalf("the pull of 1 GiB ended before the certificate had changed: %v", err)
	default:
	}
	h.router.run("tc", "qdisc", "del", "dev", "port3", "root")
	if err := <-pull; err != nil {
		t.Error(err)
	}
}
