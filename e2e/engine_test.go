//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/caddy-nas/caddy-nas-registry/internal/testenv"
)

// engine is a Docker engine on a machine, with a containerd, images and a socket
// of its own.
type engine struct {
	*machine
	args   []string
	daemon *daemon
}

// newEngine starts an engine. Its socket is where clients look for it, since the
// machine's /run is its own.
func newEngine(m *machine, args ...string) *engine {
	m.t.Helper()
	testenv.Program(m.t, "dockerd")
	e := &engine{machine: m, args: append([]string{
		"dockerd", "--config-file", m.write("daemon.json", "{}"), "--data-root", filepath.Join(m.dir, "docker"), "--log-level", "warn",
	}, args...)}
	e.start()
	m.t.Cleanup(func() { e.daemon.stop() }) // the one that runs by then
	return e
}

func (e *engine) start() {
	e.t.Helper()
	e.daemon = e.machine.daemon(e.args...)
	testenv.EventuallyWithin(e.t, "the engine of "+e.name, patience, func() error {
		_, err := e.try("docker", "version")
		return err
	})
}

// images are what the engines start with, as files of `docker save`.
type images struct {
	caddy, registry string // file names
	name            string // of Caddy's image
}

// saveImages takes the images from this machine's own engine.
func saveImages(t testing.TB) images {
	t.Helper()
	i := images{name: os.Getenv("CADDY_IMAGE")}
	if i.name == "" {
		i.name = "caddy-nas-registry"
	}
	testenv.Docker(t, "registry:3", i.name)
	dir := t.TempDir()
	save := func(image, file string) string {
		file = filepath.Join(dir, file)
		if out, err := exec.CommandContext(t.Context(), "docker", "save", "--output", file, image).CombinedOutput(); err != nil {
			t.Fatalf("docker save: %v\n%s", err, out)
		}
		return file
	}
	i.caddy, i.registry = save(i.name, "caddy.tar"), save("registry:3", "registry.tar")
	return i
}

// load gives the engine an image.
func (e *engine) load(file string) {
	e.t.Helper()
	e.run("docker", "load", "--quiet", "--input", file)
}

// loadCaddy gives the engine the image houseImage.
func (e *engine) loadCaddy(i images, roots []byte) {
	e.t.Helper()
	e.load(i.caddy)
	e.write("image/roots.pem", string(roots))
	e.write("image/Dockerfile", "FROM "+i.name+"\nCOPY roots.pem /etc/ssl/certs/ca-certificates.crt\n")
	e.run("docker", "build", "--quiet", "--tag", houseImage, filepath.Join(e.dir, "image"))
}

// newImage makes an image of one layer of random bytes, which no compression
// makes smaller. The size is as head(1) takes it.
func (e *engine) newImage(name, size string) {
	e.t.Helper()
	if err := e.tryNewImage(name, size); err != nil {
		e.t.Fatal(err)
	}
}

func (e *engine) tryNewImage(name, size string) error {
	_, err := e.try("sh", "-ec", `dir=$(mktemp -d "$HOME/image.XXXXXX"); trap 'rm -rf "$dir" "$dir.tar"' EXIT
		head -c "$1" /dev/urandom >"$dir/random"
		tar -C "$dir" -cf "$dir.tar" .
		docker import "$dir.tar" "$2" >/dev/null`, "sh", size, name)
	return err
}

// id returns an image's ID, which is a digest of all that is in it.
func (e *engine) id(image string) string {
	e.t.Helper()
	return e.run("docker", "image", "inspect", "--format", "{{.Id}}", image)
}

// container returns a service's container. Docker is asked for what Compose has
// written on it, since Compose 1.29 takes half a second to begin.
func (h *house) container(service string) string {
	h.t.Helper()
	return h.nas.run("docker", "ps", "--all", "--quiet", "--no-trunc",
		"--filter", "label=com.docker.compose.service="+service, "--filter", "label=com.docker.compose.oneoff=False")
}
