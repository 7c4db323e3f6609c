package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

var (
	pushTime = metric{"push, s", 2}
	pushCPU  = metric{"push, CPU s", 2}
	pullTime = metric{"pull, s", 2}
	pullCPU  = metric{"pull, CPU s", 2}
)

// engineWork lets the machine's Docker engine push and pull an image that it
// has just been given. It trusts every certificate of 127.0.0.1.
func engineWork(s scale) work {
	return work{
		name: "docker push and docker pull", metrics: []metric{pushTime, pushCPU, pullTime, pullCPU},
		about: fmt.Sprintf("By the engine of this machine, of an image of %d layers of %s; the engine's own CPU is not counted.",
			s.layers, sizeName(s.imageLayer)),
		run: func(ctx context.Context, server *server) (values []float64, err error) {
			if _, err := exec.LookPath("docker"); err != nil {
				return nil, errNotDone
			}
			server.pushes++
			image := fmt.Sprintf("%s/bench/image%d:v1", server.address, server.pushes)
			engine, err := newEngine(server, image)
			if err != nil {
				return nil, err
			}
			defer func() { err = errors.Join(err, engine.forget(ctx)) }()
			if err := engine.load(ctx, s); err != nil {
				return nil, err
			}
			for _, command := range []string{"push", "pull"} {
				spent, err := server.load(ctx, 1, time.Duration(0), func(int) error {
					return engine.run(ctx, command, "--quiet", image)
				})
				if err != nil {
					return nil, err
				}
				values = append(values, spent.wall.Seconds(), spent.cpu.Seconds())
				if command == "push" {
					if err := engine.remove(ctx); err != nil {
						return nil, err
					}
				}
			}
			return values, nil
		},
	}
}

// engine is the docker program with a login of its own.
type engine struct {
	server  *server
	image   string
	config  string   // its folder
	digests []string // of what it pushes
}

func newEngine(s *server, image string) (*engine, error) {
	e := &engine{server: s, image: image, config: filepath.Join(s.dir, "docker")}
	if err := os.MkdirAll(e.config, 0o700); err != nil {
		return nil, err
	}
	login := base64.StdEncoding.EncodeToString([]byte(userName + ":" + password))
	content, err := json.Marshal(map[string]any{"auths": map[string]any{s.address: map[string]string{"auth": login}}})
	if err != nil {
		return nil, err
	}
	return e, os.WriteFile(filepath.Join(e.config, "config.json"), content, 0o600)
}

func (e *engine) run(ctx context.Context, arguments ...string) error {
	cmd := exec.CommandContext(ctx, "docker", arguments...)
	cmd.Env = append(os.Environ(), "DOCKER_CONFIG="+e.config)
	_, err := output(cmd)
	return err
}

// load gives the engine an image that no registry has a layer of.
func (e *engine) load(ctx context.Context, s scale) error {
	image, err := random.Image(s.imageLayer, s.layers)
	if err != nil {
		return err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	for _, d := range append(manifest.Layers, manifest.Config) {
		e.digests = append(e.digests, d.Digest.String())
	}
	reference, err := name.NewTag(e.image)
	if err != nil {
		return err
	}
	path := filepath.Join(e.server.dir, "image.tar")
	if err := tarball.WriteToFile(path, reference, image); err != nil {
		return err
	}
	return errors.Join(e.run(ctx, "load", "--quiet", "--input", path), os.Remove(path))
}

// forget removes the image from the engine and what it has pushed from the
// registry's folder. The engine makes a manifest of its own, which is small and stays.
func (e *engine) forget(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	repository, _, _ := strings.Cut(strings.TrimPrefix(e.image, e.server.address+"/"), ":")
	return errors.Join(e.remove(ctx), e.server.forget(repository, e.digests...))
}

// remove makes the engine forget the image and its layers.
func (e *engine) remove(ctx context.Context) error {
	return e.run(ctx, "rmi", "--force", e.image)
}
