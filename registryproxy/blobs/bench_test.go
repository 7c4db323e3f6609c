package blobs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// BenchmarkPull pulls a blob by curl, which is a process of its own. It reports
// the CPU time of this process per GiB: TLS, Caddy and all handlers.
func BenchmarkPull(b *testing.B) {
	curl := testenv.Program(b, "curl")
	const size = 256 << 20
	h := newHouse(b)
	sum := h.pushBlob(b, "app", []byte("blob"))
	if err := os.Truncate(filepath.Join(h.dir, "docker/registry/v2/blobs/sha256", sum[7:9], sum[7:], "data"), size); err != nil {
		b.Fatal(err)
	}
	for _, version := range []string{"1.1", "2"} {
		for _, from := range []string{"folder", "registry"} {
			path := "/v2/app/blobs/" + sum
			if from == "registry" {
				path += "?of=the-registry"
			}
			b.Run(fmt.Sprintf("HTTP %s from the %s", version, from), func(b *testing.B) {
				b.SetBytes(size)
				before := cpuTime(b)
				for b.Loop() {
					out, err := exec.CommandContext(b.Context(), curl, "--silent", "--show-error", "--fail", "--http"+version,
						"--cacert", h.RootFile, "--user", "a:b", "--output", "/dev/null", h.URL(path)).CombinedOutput()
					if err != nil {
						b.Fatalf("curl: %v\n%s", err, out)
					}
				}
				gib := float64(size) * float64(b.N) / (1 << 30)
				b.ReportMetric((cpuTime(b)-before).Seconds()/gib, "cpu-s/GiB")
			})
		}
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
