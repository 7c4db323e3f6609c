package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// A table as Linux on amd64 writes it: a listener on 127.0.0.1:5002, a connection
// to it, and a listener at another port.
const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:138A 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4242 1 0000000000000000 100 0 0 10 0
   1: 0100007F:138A 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4243 1 0000000000000000 20 4 30 10 -1
   2: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4244 1 0000000000000000 100 0 0 10 0
`

const tcp6Table = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: B80D0120000000000000000001000000:138A 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4245 1 0000000000000000 100 0 0 10 0
`

func TestParseListeners(t *testing.T) {
	if runtime.GOARCH == "s390x" {
		t.Skip("the tables are of a little-endian processor")
	}
	for _, test := range []struct {
		name, table string
		want        []listener
	}{
		{"IPv4", tcpTable, []listener{{addr: netip.MustParseAddr("127.0.0.1"), uid: "1000", inode: "4242"}}},
		{"IPv6", tcp6Table, []listener{{addr: netip.MustParseAddr("2001:db8::1"), uid: "0", inode: "4245"}}},
		{"empty", "", nil},
		{"garbage", "0: x:138A y 0A\n0: 0100007:138A 0 0A 0 0 0 0 0 1\n0: 0100007F:1138A 0 0A 0 0 0 0 0 1\n", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := parseListeners(test.table, 5002)
			if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(listener{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func FuzzParseListeners(f *testing.F) {
	f.Add(tcpTable, uint16(5002))
	f.Add(tcp6Table, uint16(5002))
	f.Fuzz(func(t *testing.T, table string, port uint16) {
		for _, l := range parseListeners(table, port) {
			if !l.addr.IsValid() || l.inode == "" {
				t.Errorf("%+v", l)
			}
		}
	})
}

// fakeProc is a proc file system with the listeners above, and a process that
// holds the one of IPv4.
func fakeProc(t *testing.T) string {
	t.Helper()
	proc := t.TempDir()
	if err := errors.Join(
		os.MkdirAll(filepath.Join(proc, "net"), 0o700),
		os.WriteFile(filepath.Join(proc, "net", "tcp"), []byte(tcpTable), 0o600),
		os.WriteFile(filepath.Join(proc, "net", "tcp6"), []byte(tcp6Table), 0o600),
		os.MkdirAll(filepath.Join(proc, "77", "fd"), 0o700),
		os.WriteFile(filepath.Join(proc, "77", "comm"), []byte("nginx\n"), 0o600),
		os.Symlink("/dev/null", filepath.Join(proc, "77", "fd", "0")),
		os.Symlink("socket:[4242]", filepath.Join(proc, "77", "fd", "5")),
	); err != nil {
		t.Fatal(err)
	}
	return proc
}

func TestReadListeners(t *testing.T) {
	proc := fakeProc(t)
	read := func() string {
		t.Helper()
		listeners, err := readListeners(proc, 5002)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(listeners)
	}
	if got, want := read(), "[nginx (process 77) a program of user 0 that can't be seen from here]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := os.Remove(filepath.Join(proc, "net", "tcp6")); err != nil {
		t.Fatal(err)
	}
	if got, want := read(), "[nginx (process 77)]"; got != want {
		t.Errorf("without IPv6: got %s, want %s", got, want)
	}
	if _, err := readListeners(t.TempDir(), 5002); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without proc: %v", err)
	}
}

func TestTakes(t *testing.T) {
	for _, test := range []struct {
		addr  string
		binds []string
		want  bool
	}{
		{"127.0.0.1", []string{""}, true},
		{"127.0.0.1", []string{"0.0.0.0"}, true},
		{"127.0.0.1", []string{"::1", "127.0.0.1"}, true},
		{"127.0.0.1", []string{"192.168.1.2"}, false},
		{"::ffff:127.0.0.1", []string{"127.0.0.1"}, true},
		{"::", []string{"192.168.1.2"}, true},
		{"127.0.0.1", []string{"nas.example.com"}, true},
		{"127.0.0.1", nil, true},
	} {
		if got := (listener{addr: netip.MustParseAddr(test.addr)}).takes(test.binds); got != test.want {
			t.Errorf("%s, %q: got %t", test.addr, test.binds, got)
		}
	}
}

// holderEnv is set in the process that holds a port.
const holderEnv = "DOCTOR_TEST_HOLDER"

// TestHolder is the process of TestLookPort. It ends with its input.
func TestHolder(t *testing.T) {
	address := os.Getenv(holderEnv)
	if address == "" {
		t.Skip("is run by TestLookPort")
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	fmt.Println("listening")
	_, _ = os.Stdin.Read(make([]byte, 1))
}

// hold lets another program of that name listen until the test ends.
func hold(t *testing.T, name, address string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, program); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-test.run=^TestHolder$")
	cmd.Env = append(os.Environ(), holderEnv+"="+address)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out := new(testenv.Output)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		if err := cmd.Wait(); err != nil {
			t.Logf("%s: %v", name, err)
		}
	})
	testenv.Eventually(t, name, func() error {
		if !strings.Contains(out.Log(), "listening") {
			return errors.New(out.Log())
		}
		return nil
	})
}

func TestLookPort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("reads Linux's proc file system")
	}
	at := func() string { return "127.0.0.1:" + strconv.Itoa(testenv.FreePort(t)) }
	t.Run("free", func(t *testing.T) {
		says(t, lookPort(t.Context(), patientAt(t, at(), "localhost")), OK, "nobody holds port", "")
	})
	t.Run("another program", func(t *testing.T) {
		address := at()
		hold(t, "otherd", address)
		says(t, lookPort(t.Context(), patientAt(t, address, "localhost")), Wrong, "is held by otherd (process ", "REGISTRY_PORT")
	})
	t.Run("Caddy", func(t *testing.T) {
		address := at()
		hold(t, "caddy", address)
		says(t, lookPort(t.Context(), patientAt(t, address, "localhost")), OK, "is held by caddy (process ", "")
	})
	t.Run("Caddy of another name", func(t *testing.T) {
		address := at()
		hold(t, "caddy_arm64", address)
		says(t, lookPort(t.Context(), patientAt(t, address, "localhost")), OK, "is held by caddy_arm64 (process ", "")
	})
	t.Run("another address", func(t *testing.T) {
		address := at()
		hold(t, "otherd", address)
		elsewhere := strings.Replace(address, "127.0.0.1", "127.0.0.2", 1)
		says(t, lookPort(t.Context(), patientAt(t, elsewhere, "localhost")), OK, "nobody holds port", "")
	})
}

// TestPortByAnswer is about holders whose name is not to be seen.
func TestPortByAnswer(t *testing.T) {
	leaf := issue(t, nil, "", []string{"localhost"}, nil)
	none := tlsConfig(leaf)
	none.Certificates, none.GetCertificate = nil, noCertificate
	server := func(name string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Server", name) }
	}
	for _, test := range []struct {
		name         string
		p            *patient
		status       Status
		seen, advice string
	}{
		{"Caddy", startSite(t, tlsConfig(leaf), server("Caddy"), "localhost"), OK, "answers as Caddy", ""},
		{"another", startSite(t, tlsConfig(leaf), server("nginx"), "localhost"), Wrong, "does not answer as Caddy does", "REGISTRY_PORT"},
		{"no TLS", startSite(t, nil, server("Caddy"), "localhost"), Wrong, "does not answer as Caddy does", "REGISTRY_PORT"},
		{"no certificate", startSite(t, none, server("Caddy"), "localhost"), Unknown, "no certificate for localhost", "registry-doctor"},
	} {
		t.Run(test.name, func(t *testing.T) {
			says(t, test.p.portByConnection(t.Context(), errors.New("no proc")), test.status, test.seen, test.advice)
		})
	}
	t.Run("Caddy that hides its name", func(t *testing.T) {
		p := startSite(t, tlsConfig(leaf), func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Distribution-Api-Version", "registry/2.0")
			w.WriteHeader(http.StatusUnauthorized)
		}, "localhost")
		says(t, p.portByConnection(t.Context(), errors.New("no proc")), Wrong, "does not answer as Caddy does", "REGISTRY_PORT")
		admin := httptest.NewServer(http.HandlerFunc(nothing))
		defer admin.Close()
		p.setup.admin = admin.Listener.Addr().String()
		says(t, p.portByConnection(t.Context(), errors.New("no proc")), OK, "Caddy is running", "")
	})
	free := patientAt(t, "127.0.0.1:"+strconv.Itoa(testenv.FreePort(t)), "localhost")
	says(t, free.portByConnection(t.Context(), errors.New("no proc")), OK, "nobody answers", "")
}
