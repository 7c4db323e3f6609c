package docker

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// fakeDocker is not Docker: it is the four endpoints of the Engine API that
// this package may call, at version 1.40, over a Unix socket. A request that
// Docker would not expect from this package fails the test.
type fakeDocker struct {
	t     *testing.T
	path  string
	label string // what lists must be filtered by, "key=value"

	lists, streams atomic.Int32 // requests so far

	mu         sync.Mutex
	server     *http.Server // nil while Docker is down
	containers []fakeContainer
	followers  map[chan string]struct{} // open event streams
	refuse     map[string]int           // path without its version → status
}

// fakeContainer is a container as the fake describes it.
type fakeContainer struct {
	name   string
	state  string // default: running
	addr   netip.AddrPort
	health string
	labels map[string]string // default: the fake's label
}

const (
	fakeVersion  = "1.40"
	fakeExitCode = 137
)

// newFakeDocker returns one that is down; its socket does not exist yet.
func newFakeDocker(t *testing.T) *fakeDocker {
	t.Helper()
	dir, err := os.MkdirTemp("", "docker") // t.TempDir is often too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeDocker{
		t:         t,
		path:      filepath.Join(dir, "docker.sock"),
		label:     "registry=yes",
		followers: make(map[chan string]struct{}),
		refuse:    make(map[string]int),
	}
	t.Cleanup(func() {
		f.stop()
		os.RemoveAll(dir)
	})
	return f
}

// settings returns what finds the fake's containers.
func (f *fakeDocker) settings() settings {
	return settings{host: host{"unix", f.path}, label: label{key: "registry", value: "yes"}}
}

// start makes a new socket and listens on it.
func (f *fakeDocker) start() {
	f.t.Helper()
	os.Remove(f.path)
	l, err := net.Listen("unix", f.path)
	if err != nil {
		f.t.Fatal(err)
	}
	server := &http.Server{Handler: f.handler()}
	f.mu.Lock()
	f.server = server
	f.mu.Unlock()
	go server.Serve(l)
}

func (f *fakeDocker) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/_ping", f.ping)
	mux.HandleFunc("/v"+fakeVersion+"/containers/json", f.list)
	mux.HandleFunc("/v"+fakeVersion+"/containers/{id}/json", f.inspect)
	mux.HandleFunc("/v"+fakeVersion+"/events", f.events)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { f.bad(w, r, "no such endpoint") })
	return mux
}

// stop ends all connections. The socket's file goes too.
func (f *fakeDocker) stop() {
	f.mu.Lock()
	server := f.server
	f.server = nil
	f.mu.Unlock()
	if server != nil {
		server.Close()
	}
}

// die stops the fake but leaves its file, as a killed daemon does.
func (f *fakeDocker) die() {
	f.t.Helper()
	kept := f.path + ".kept"
	if err := os.Rename(f.path, kept); err != nil {
		f.t.Fatal(err)
	}
	f.stop()
	if err := os.Rename(kept, f.path); err != nil {
		f.t.Fatal(err)
	}
}

// set replaces the containers; nobody is told.
func (f *fakeDocker) set(containers ...fakeContainer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.containers = containers
}

// tell sends an event to all who follow.
func (f *fakeDocker) tell(kind, action string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.followers {
		ch <- fmt.Sprintf(`{"Type":%q,"Action":%q,"Actor":{"ID":"x"},"time":%d}`+"\n", kind, action, time.Now().Unix())
	}
}

// cut ends the event streams, in the normal way.
func (f *fakeDocker) cut() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for ch := range f.followers {
		close(ch)
		delete(f.followers, ch)
	}
}

func (f *fakeDocker) following() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.followers)
}

// refuseWith makes an endpoint answer with a status; zero ends that.
func (f *fakeDocker) refuseWith(path string, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse[path] = status
}

func (f *fakeDocker) refused(w http.ResponseWriter, path string) bool {
	f.mu.Lock()
	status := f.refuse[path]
	f.mu.Unlock()
	if status != 0 {
		fail(w, status, "the proxy forbids it")
	}
	return status != 0
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]string{"message": message})
}

// bad is the answer to a request that should not have been made.
func (f *fakeDocker) bad(w http.ResponseWriter, r *http.Request, why string) {
	f.t.Errorf("the fake got %s %s: %s", r.Method, r.URL, why)
	fail(w, http.StatusBadRequest, why)
}

// read checks the method and that the query has the parameters of want and no
// more; "" stands for any value. Filters are compared as values.
func (f *fakeDocker) read(w http.ResponseWriter, r *http.Request, want map[string]string) bool {
	if r.Method != http.MethodGet {
		f.bad(w, r, "method")
		return false
	}
	if r.ContentLength != 0 {
		f.bad(w, r, "body")
		return false
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil || len(query) != len(want) {
		f.bad(w, r, "parameters")
		return false
	}
	for name, value := range want {
		got := query[name]
		if len(got) != 1 || value != "" && !equalJSON(got[0], value) {
			f.bad(w, r, fmt.Sprintf("%s is not %s", name, value))
			return false
		}
	}
	return true
}

func equalJSON(a, b string) bool {
	var x, y any
	return json.Unmarshal([]byte(a), &x) == nil && json.Unmarshal([]byte(b), &y) == nil && reflect.DeepEqual(x, y)
}

func (f *fakeDocker) ping(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodHead && r.Method != http.MethodGet || r.URL.RawQuery != "" {
		f.bad(w, r, "ping")
		return
	}
	w.Header().Set("Api-Version", fakeVersion)
	w.Header().Set("Ostype", "linux")
}

func (f *fakeDocker) list(w http.ResponseWriter, r *http.Request) {
	f.lists.Add(1)
	if f.refused(w, "/containers/json") {
		return
	}
	if !f.read(w, r, map[string]string{"all": "1", "filters": `{"label":{"` + f.label + `":true}}`}) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	list := []map[string]any{}
	for _, c := range f.containers {
		// As little as may be: what a list says of a container in full is in
		// its description.
		list = append(list, map[string]any{"Id": c.id(), "Names": []string{"/" + c.name}})
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(list)
}

func (c fakeContainer) id() string { return fmt.Sprintf("%064x", c.name) }

func (f *fakeDocker) inspect(w http.ResponseWriter, r *http.Request) {
	if !f.read(w, r, nil) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.containers {
		if c.id() == r.PathValue("id") {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(f.describe(c))
			return
		}
	}
	fail(w, http.StatusNotFound, "No such container: "+r.PathValue("id"))
}

// describe has the shape of Docker's answer, as its API documents it.
//
// Source: https://docs.docker.com/reference/api/engine/version/v1.40/#tag/Container/operation/ContainerInspect
func (f *fakeDocker) describe(c fakeContainer) map[string]any {
	if c.state == "" {
		c.state = "running"
	}
	labels := c.labels
	if labels == nil {
		key, value, _ := strings.Cut(f.label, "=")
		labels = map[string]string{key: value}
	}
	state := map[string]any{
		"Status": c.state, "Running": c.state == "running", "Paused": c.state == "paused",
		"Restarting": c.state == "restarting", "OOMKilled": false, "Dead": false, "Pid": 0, "Error": "",
		"ExitCode": 0, "StartedAt": "2026-01-01T00:00:00.123456789Z", "FinishedAt": "0001-01-01T00:00:00Z",
	}
	if c.state == "exited" {
		state["ExitCode"] = fakeExitCode
		state["FinishedAt"] = time.Now().Add(-150 * time.Second).UTC().Format(time.RFC3339Nano)
	}
	if c.health != "" {
		state["Health"] = map[string]any{"Status": c.health, "FailingStreak": 3}
	}
	endpoint := map[string]any{"NetworkID": "n", "IPAddress": "", "GlobalIPv6Address": ""}
	exposed := map[string]any{}
	if c.addr.IsValid() {
		exposed[fmt.Sprintf("%d/tcp", c.addr.Port())] = map[string]any{}
		if c.state == "running" {
			endpoint["IPAddress"] = c.addr.Addr().String()
		}
	}
	return map[string]any{
		"Id":              c.id(),
		"Name":            "/" + c.name,
		"State":           state,
		"Config":          map[string]any{"Labels": labels, "ExposedPorts": exposed},
		"HostConfig":      map[string]any{"NetworkMode": "default"},
		"NetworkSettings": map[string]any{"Networks": map[string]any{"bridge": endpoint}},
	}
}

func (f *fakeDocker) events(w http.ResponseWriter, r *http.Request) {
	f.streams.Add(1)
	if f.refused(w, "/events") {
		return
	}
	if !f.read(w, r, map[string]string{"since": "", "filters": `{
		"type": {"container": true, "network": true},
		"event": {"create": true, "start": true, "die": true, "stop": true, "pause": true, "unpause": true,
			"destroy": true, "rename": true, "health_status": true, "connect": true, "disconnect": true}}`}) {
		return
	}
	seconds, fraction, _ := strings.Cut(r.URL.Query().Get("since"), ".")
	since, err := strconv.ParseInt(seconds, 10, 64)
	if age := time.Since(time.Unix(since, 0)); err != nil || len(fraction) != 9 || age < 0 || age > time.Minute {
		f.bad(w, r, "since is not just now")
		return
	}

	follower := make(chan string, 100)
	f.mu.Lock()
	f.followers[follower] = struct{}{}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.followers, follower)
		f.mu.Unlock()
	}()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	w.(http.Flusher).Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case event, open := <-follower:
			if !open {
				return
			}
			fmt.Fprint(w, event)
			w.(http.Flusher).Flush()
		}
	}
}

// fakeRegistry answers GET /v2/ with a status, and other paths with its name.
type fakeRegistry struct {
	*httptest.Server
	addr   netip.AddrPort
	status atomic.Int32
}

func newFakeRegistry(t *testing.T, name string) *fakeRegistry {
	r := new(fakeRegistry)
	r.status.Store(http.StatusOK)
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/v2/" {
			w.WriteHeader(int(r.status.Load()))
			return
		}
		fmt.Fprint(w, name)
	}))
	t.Cleanup(r.Close)
	r.addr = netip.MustParseAddrPort(r.Listener.Addr().String())
	return r
}

// eventually waits until something holds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	// Not the test's context, which has ended when a test cleans up.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("it did not come to this: %s", what)
		}
	}
}
