package registryproxy_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// BenchmarkPush uploads a blob in one PATCH by curl, which is a process of its
// own. It reports the CPU time of this process per GiB: TLS, Caddy and all
// handlers.
func BenchmarkPush(b *testing.B) {
	curl := testenv.Program(b, "curl")
	const size = 256 << 20
	file := filepath.Join(b.TempDir(), "blob")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		b.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		b.Fatal(err)
	}
	c := testenv.NewCaddy(b)
	c.Load("registry_proxy {\nto " + testenv.StartRegistry(b, b.TempDir()) + "\nhtpasswd " + testenv.Users(b, "a", "b") + "\n}")
	for _, version := range []string{"1.1", "2"} {
		b.Run("HTTP "+version, func(b *testing.B) {
			b.SetBytes(size)
			before := cpuTime(b)
			for b.Loop() {
				location := send(b, c, http.MethodPost, "/v2/app/blobs/uploads/", nil, http.StatusAccepted)
				out, err := exec.CommandContext(b.Context(), curl, "--silent", "--show-error", "--fail", "--http"+version,
					"--cacert", c.RootFile, "--user", "a:b", "--request", "PATCH", "--upload-file", file,
					"--output", "/dev/null", "--write-out", "%header{location}", c.URL(location)).CombinedOutput()
				if err != nil {
					b.Fatalf("curl: %v\n%s", err, out)
				}
				send(b, c, http.MethodDelete, string(out), nil, http.StatusNoContent)
			}
			gib := float64(size) * float64(b.N) / (1 << 30)
			b.ReportMetric((cpuTime(b)-before).Seconds()/gib, "cpu-s/GiB")
		})
	}
}

// cpuTime returns what this process has used, user and system.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
